"""What a solver tells a `Progress` of an iteration: the values by name, and how far the training images are seen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

from sdcaffe import collectives, proto
from sdcaffe.log import Progress
from sdcaffe.net import Net
from sdcaffe.solver.lines import flat


def report(
    progress: Progress,
    net: Net,
    param: proto.SolverParameter,
    iteration: int,
    outputs: Mapping[str, Tensor],
    *,
    loss: float,
    lr: float,
) -> None:
    """Tell that `iteration` iterations are done, the last of which put out `outputs`. Waits for the device."""
    images = _images(net) * param.iter_size * collectives.rank_and_world()[1]
    count = next((layer.item_count for layer in net.data_layers if layer.item_count), None)
    names, values = flat(outputs)
    numbers, terms = by_name(zip(names, values.tolist(), strict=True)), _terms(net)
    progress.update(
        iteration,
        param.max_iter,
        loss=loss,
        lr=lr,
        images=images,
        epoch=None if count is None else iteration * images / count,
        terms={name: value for name, value in numbers.items() if name in terms},
        outputs={name: value for name, value in numbers.items() if name not in terms},
    )


def by_name(values: Iterable[tuple[str, float]]) -> dict[str, float]:
    """The values of blobs; of a blob of several the later ones are `name[1]`, `name[2]`, ..."""
    found: dict[str, float] = {}
    counts: dict[str, int] = {}
    for name, value in values:
        index = counts[name] = counts.get(name, -1) + 1
        found[f"{name}[{index}]" if index else name] = value
    return found


def _images(net: Net) -> int:
    """How many go into one pass on one process."""
    shapes = [net.blob_shapes[name] for layer in net.data_layers for name in layer.layer_param.top]
    return max((shape[0] for shape in shapes if shape), default=0)


def _terms(net: Net) -> set[str]:
    """The tops of losses that no labels go into."""
    losses = (layer for layer in net.layers.values() if layer.loss and not layer.index_bottoms)
    return {name for layer in losses for name in layer.layer_param.top}
