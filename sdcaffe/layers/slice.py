"""Slice: one bottom cut along one axis. concat.py is the way back."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import Layer, Shape, Source, SourceBuilder, register
from sdcaffe.layers.concat import joined_axis


@register("Slice", field="slice_param")
class Slice(Layer):
    """Cut at each `slice_point` of `axis` (or the older `slice_dim`), or into equal parts without points."""

    param: proto.SliceParameter
    tops = (1, None)

    keeps_values = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        (shape,) = bottom_shapes
        self.axis = joined_axis(self, "slice_dim", len(shape))
        return [(*shape[: self.axis], size, *shape[self.axis + 1 :]) for size in self._sizes(shape[self.axis])]

    def _sizes(self, whole: int) -> list[int]:
        """How much of the `whole` axis each top gets."""
        points, tops = list(self.param.slice_point), len(self.layer_param.top)
        if not points:
            if whole % tops:
                raise self.error(f"{whole} values on axis {self.axis} cannot be cut into {tops} equal tops")
            return [whole // tops] * tops
        if len(points) != tops - 1:
            raise self.error(
                f"{len(points)} slice points cut into {len(points) + 1}, but there are {tops} tops", "slice_point"
            )
        ends = [0, *points, whole]
        sizes = [end - start for start, end in itertools.pairwise(ends)]
        if min(sizes) <= 0:
            raise self.error(
                f"slice points {points} must rise from above 0 to below {whole}, the size of axis {self.axis}",
                "slice_point",
            )
        return sizes

    def forward(self, bottom: Tensor) -> tuple[Tensor, ...]:
        return torch.split(bottom, self._sizes(bottom.shape[self.axis]), self.axis)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        sizes = self._sizes(bottoms[0][self.axis])
        if len(sizes) == 1:
            return Source("{0}")
        return Source(f"torch.split({{0}}, [{', '.join(map(str, sizes))}], {self.axis})")

    @classmethod
    def mixes_items(cls, layer_param: proto.LayerParameter) -> bool:
        param = layer_param.slice_param
        return (param.slice_dim if param.HasField("slice_dim") else param.axis) == 0
