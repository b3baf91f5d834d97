"""What a solver tells a `Progress` of an iteration: the values of outputs, and how far the training images are seen."""

from __future__ import annotations

from collections.abc import Mapping

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
    """Tell that `iteration` iterations are done, the last of which put out `outputs`: those of one number are told.

    Waits for the device.
    """
    images = _images(net) * param.iter_size * collectives.rank_and_world()[1]
    count = next((layer.item_count for layer in net.data_layers if layer.item_count), None)
    names, values = flat(single(outputs))
    numbers, terms = dict(zip(names, values.tolist(), strict=True)), _terms(net)
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


def single(blobs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The blobs that hold one number: losses and accuracies, and no detections."""
    return {name: blob for name, blob in blobs.items() if blob.numel() == 1}


def _images(net: Net) -> int:
    """How many go into one pass on one process."""
    shapes = [net.blob_shapes[name] for layer in net.data_layers for name in layer.layer_param.top]
    return max((shape[0] for shape in shapes if shape), default=0)


def _terms(net: Net) -> set[str]:
    """The tops of losses that no labels go into."""
    losses = (layer for layer in net.layers.values() if layer.loss and not layer.index_bottoms)
    return {name for layer in losses for name in layer.layer_param.top}
