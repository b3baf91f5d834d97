"""DummyData: batches made by fillers, for timing and for tests."""

from __future__ import annotations

import zlib
from typing import TypeVar

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers import fillers
from sdcaffe.layers.base import DataLayer, Layer, Shape, register

_LEGACY = ("num", "channels", "height", "width")
T = TypeVar("T")


@register("DummyData", field="dummy_data_param")
class DummyData(DataLayer):
    """Tops of the given shapes, filled once where the filler is constant and anew for each batch otherwise.

    Shapes are `shape`, or the older num, channels, height and width; fillers are `data_filler`; of each one
    for all tops or one for each, and no filler means zeros. What a batch holds follows from torch's seed,
    the layer's name and the cursor alone.
    """

    param: proto.DummyDataParameter
    tops = (1, None)

    brings = "fillings"

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        self.shapes = shapes_of_tops(self)
        fillers_given = list(self.param.data_filler) or [proto.FillerParameter(type="constant", value=0)]
        self.fillers = for_each_top(self, "data_filler", fillers_given)
        for filler in self.fillers:
            fillers.check(filler)
        self._constant: dict[tuple[int, torch.device], Tensor] = {}
        return self.shapes

    @property
    def constant_tops(self) -> list[int]:
        """The tops that are filled once; the others are drawn for each batch."""
        return [i for i, filler in enumerate(self.fillers) if filler.type == "constant"]

    def next_batch(self, device: torch.device) -> tuple[Tensor, ...]:
        batch = tuple(self._top(i, device) for i in range(len(self.shapes)))
        self.cursor += 1
        return batch

    def _top(self, i: int, device: torch.device) -> Tensor:
        if i not in self.constant_tops:
            return self.filled(i, self.shapes[i], device)
        if (i, device) not in self._constant:
            top = self.filled(i, self.shapes[i], device)
            if top.dim() == 4:  # the layout that the net computes in, once and not for each batch
                top = top.contiguous(memory_format=torch.channels_last)
            self._constant[i, device] = top
        return self._constant[i, device]

    def filled(self, i: int, shape: Shape, device: torch.device) -> Tensor:
        """Top `i` of the batch at the cursor, in any shape."""
        top = torch.empty(shape, device=device)
        generator = torch.default_generator
        if device.type == "cuda":
            generator = torch.cuda.default_generators[top.device.index]
        # The fillers draw from torch's own generator: seed it for this batch, then put it back.
        seed = zlib.crc32(f"{torch.initial_seed()} {self.name} {i} {self.cursor}".encode())
        state = generator.get_state()
        try:
            generator.manual_seed(seed)
            fillers.fill(top, self.fillers[i])
        finally:
            generator.set_state(state)
        return top


def shapes_of_tops(layer: Layer) -> list[Shape]:
    """A layer's `shape`, or its num, channels, height and width: of each one for all tops or one for each.

    Raises LayerError.
    """
    param, columns = layer.param, [list(getattr(layer.param, name)) for name in _LEGACY]
    if any(columns) and param.shape:
        raise layer.error('give "shape" or num, channels, height and width, not both', "shape")
    given: list[Shape] = [tuple(shape.dim) for shape in param.shape]
    if any(columns):
        whole = [for_each_top(layer, name, column) for name, column in zip(_LEGACY, columns, strict=True)]
        given = [tuple(row) for row in zip(*whole, strict=True)]
    shapes: list[Shape] = for_each_top(layer, "shape", given)
    if any(n < 0 for shape in shapes for n in shape):
        raise layer.error(f"shapes {[list(shape) for shape in shapes]} hold a negative size", "shape")
    return shapes


def for_each_top(layer: Layer, field: str, values: list[T]) -> list[T]:
    """A value for each top, of one for all or one for each. Raises LayerError."""
    tops = len(layer.layer_param.top)
    if len(values) not in (1, tops):
        raise layer.error(f"{len(values)} x {field} for {tops} tops; give one for all or one for each", field)
    return values if len(values) == tops else values * tops
