"""Which sizes of a net's inputs an exported model may leave free. Traces nothing."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from sdcaffe.converters.onnx_metadata import ModelError
from sdcaffe.converters.onnx_pixels import Preprocess
from sdcaffe.errors import SdcaffeError
from sdcaffe.layers.base import Shape
from sdcaffe.net import Net

if TYPE_CHECKING:
    from onnx import ValueInfoProto

Axes = dict[str, tuple[int, ...]]  # input -> its free axes

_MOST_CHOICES = 32  # a recurrent layer has at most five bottoms
_LARGER = (32, 64)  # added to height and width: what a net of any usual stride still takes


@dataclass
class Plan:
    """Free axes, the shapes to trace with, and those to run the result on; `fixed` says why the batch is not free."""

    axes: Axes
    example: dict[str, Shape]
    runs: list[Mapping[str, Shape]]
    words: dict[str, dict[int, str]]
    places: dict[str, tuple[int, ...]]  # input -> where each axis of the blob is in the model's input
    fixed: str = ""

    @property
    def batch(self) -> int | None:
        """How many images the first input takes at once; None where that is free."""
        name = next(iter(self.example), "")
        return self.example[name][0] if name and self.example[name] and 0 not in self.axes[name] else None

    def takes(self, shape: Shape) -> bool:
        """Whether the model's first input may have this shape, whatever its batch."""
        name, sizes = next(iter(self.runs[0].items()))
        fixed = [axis for axis in range(1, len(sizes)) if axis not in self.axes[name]]
        return len(shape) == len(sizes) and all(shape[self.places[name][axis]] == sizes[axis] for axis in fixed)

    def free(self, name: str) -> dict[int, object]:
        """torch.export's dynamic_shapes of one input."""
        return {self.places[name][axis]: torch.export.Dim.AUTO for axis in self.axes[name]}

    def holds(self, inputs: Iterable[ValueInfoProto]) -> bool:
        """Whether a model's inputs are as free as was planned."""
        for value in inputs:
            sizes = value.type.tensor_type.shape.dim
            if any(not sizes[self.places[value.name][axis]].dim_param for axis in self.axes[value.name]):
                return False
        return True


def plan_of(
    net: Net, preprocess: Preprocess | None = None, *, static: bool = False, of_batch: int | None = None
) -> Plan:
    """The freest plan that the net takes: batch, height and width; batch; or nothing. The net is reshaped meanwhile.

    With `static` nothing is free; the batch is then `of_batch`, where that is given. Raises ModelError where the net
    takes no batch of that size.

    A size is free where the net itself takes another one and no layer `fixes` it; a mean image has but one.
    """
    in_bytes = preprocess is not None
    shapes = {name: net.blob_shapes[name] for name in net.inputs}
    if static and of_batch is not None:
        shapes = _of_batch(net, shapes, of_batch)
    images = [name for name, shape in shapes.items() if len(shape) == 4]
    batch, fixed = _batch_axes(net, shapes) if not static else (None, "as --static says")
    if batch is None:
        _refusal(net, shapes)
        plan = _plan({name: () for name in shapes}, shapes, [shapes, shapes], in_bytes, images)
        plan.fixed = fixed
        return plan
    double = _scaled(shapes, batch, 2)
    larger = {
        name: (*shape[:2], shape[2] + _LARGER[0], shape[3] + _LARGER[1]) if name in images else shape
        for name, shape in double.items()
    }
    one_size = preprocess is not None and preprocess.mean.shape[1:] != (1, 1)
    one_size = one_size or _in_sequences(net) or any(layer.fixes for layer in net.layers.values())
    if images and not one_size and not _fixed(net, larger):
        axes = {name: (*batch[name], 2, 3) if name in images else batch[name] for name in shapes}
        return _plan(axes, double, [shapes, double, _scaled(larger, batch, 1)], in_bytes, images)
    return _plan(batch, double, [shapes, _scaled(shapes, batch, 3)], in_bytes, images)


def _plan(
    axes: Axes, example: dict[str, Shape], runs: list[Mapping[str, Shape]], in_bytes: bool, images: list[str]
) -> Plan:
    words = {}
    places = {name: tuple(range(len(shape))) for name, shape in example.items()}
    if in_bytes and example:
        places[next(iter(example))] = (0, 3, 1, 2)
    for name, free in axes.items():
        word = {2: "height", 3: "width"} if name in images else {}
        words[name] = {places[name][axis]: word.get(axis, "batch") for axis in free}
    return Plan(axes, example, runs, words, places)


def _batch_axes(net: Net, shapes: dict[str, Shape]) -> tuple[Axes | None, str]:
    """The axis of each input that counts items: 0, in a recurrent net the one that counts streams, or none.

    None where the net takes no other batch; then why.
    """
    if not shapes:
        return None, ""
    if any(not shape for shape in shapes.values()):
        return None, "an input has no axes"
    for name, layer in net.layers.items():
        if layer.fixes == "batch":
            return None, f'layer "{name}" ({layer.type}) is written for one batch size'
    recurrent = _in_sequences(net)
    ways = [((1,), (0,), ()) if recurrent and len(shape) > 1 else ((0,), ()) for shape in shapes.values()]
    choices = (choice for choice in itertools.product(*ways) if any(choice))
    refusals = []
    for choice in itertools.islice(choices, _MOST_CHOICES):
        axes: Axes = dict(zip(shapes, choice, strict=True))
        refusals.append(_fixed(net, _scaled(shapes, axes, 2)))
        if not refusals[-1]:
            return axes, ""
    return None, refusals[0]


def _of_batch(net: Net, shapes: dict[str, Shape], size: int) -> dict[str, Shape]:
    axes, why = _batch_axes(net, shapes)
    if axes is not None:
        shapes = {
            name: tuple(size if axis in axes[name] else n for axis, n in enumerate(shape))
            for name, shape in shapes.items()
        }
        why = _refusal(net, shapes)
    if axes is None or why:
        raise ModelError(f'net "{net.name}" takes no batch of {size}: {why or "it has no inputs"}')
    return shapes


def _in_sequences(net: Net) -> bool:
    return any(layer.batch_axis for layer in net.layers.values())


def _scaled(shapes: dict[str, Shape], axes: Axes, factor: int) -> dict[str, Shape]:
    return {
        name: tuple(size * factor if axis in axes[name] else size for axis, size in enumerate(shape))
        for name, shape in shapes.items()
    }


def _refusal(net: Net, shapes: Mapping[str, Shape]) -> str:
    """What the net has against these shapes, without the advice for training; "" where it takes them."""
    try:
        net.reshape(shapes)
    except SdcaffeError as error:
        return error.message.partition(";")[0]
    return ""


def _fixed(net: Net, shapes: Mapping[str, Shape]) -> str:
    """Why one model cannot be of these shapes and of the net's own: no blob of it has more axes, or fewer, in one."""
    before = net.blob_shapes
    if refusal := _refusal(net, shapes):
        return refusal
    for name, shape in net.blob_shapes.items():
        if len(shape) != len(before[name]):
            net.reshape({name: before[name] for name in net.inputs})
            return f'blob "{name}" would have {len(shape)} axes in place of {len(before[name])}'
    return ""
