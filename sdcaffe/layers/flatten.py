"""Flatten: a run of axes made one. reshape.py does the rest."""

from __future__ import annotations

import math

from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import Layer, Shape, Source, SourceBuilder, canonical_axis, register


@register("Flatten", field="flatten_param")
class Flatten(Layer):
    """Axes `axis` to `end_axis`, both included, become one, in NCHW order."""

    param: proto.FlattenParameter
    views = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        dims = len(bottom_shapes[0])
        self.start = canonical_axis(self, self.param.axis, dims)
        self.end = canonical_axis(self, self.param.end_axis, dims) + 1
        if self.end < self.start:
            raise self.error(f"end_axis (={self.end - 1}) comes before axis (={self.start})", "end_axis")
        return [self._top_shape(bottom_shapes[0])]

    def _top_shape(self, shape: Shape) -> Shape:
        return (*shape[: self.start], math.prod(shape[self.start : self.end]), *shape[self.end :])

    def forward(self, bottom: Tensor) -> Tensor:
        return bottom.reshape(self._top_shape(bottom.shape))

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        last = self.end - 1
        to_the_end = last == len(bottoms[0]) - 1
        return Source(f"torch.flatten({{0}}, {self.start}{'' if to_the_end else f', {last}'})")

    @classmethod
    def mixes_items(cls, layer_param: proto.LayerParameter) -> bool:
        return layer_param.flatten_param.axis == 0
