"""Permute: the axes of a blob in another order."""

from __future__ import annotations

from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import Layer, Shape, Source, SourceBuilder, register


class PermuteParameter:
    order: list[int]


@register("Permute", field="permute_param", number=202)
class Permute(Layer):
    """Axis i of the top is axis order[i] of the bottom; axes that `order` leaves out follow in their own order.

    As in SSD (weiliu89/caffe@4817bf8). Raises LayerError for an axis that the bottom lacks, or one given twice.
    """

    param: proto.PermuteParameter
    Param = PermuteParameter
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        (bottom,) = bottom_shapes
        order = list(self.param.order)
        for axis in order:
            if not 0 <= axis < len(bottom):
                raise self.error(f"order has axis {axis}, but the bottom has axes 0 to {len(bottom) - 1}", "order")
            if order.count(axis) > 1:
                raise self.error(f"order has axis {axis} twice", "order")
        self.order = order + [axis for axis in range(len(bottom)) if axis not in order]
        return [tuple(bottom[axis] for axis in self.order)]

    def forward(self, bottom: Tensor) -> Tensor:
        return bottom.permute(self.order)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        return Source(f"torch.permute({{0}}, {tuple(self.order)})")

    @classmethod
    def mixes_items(cls, layer_param: proto.LayerParameter) -> bool:
        return list(layer_param.permute_param.order[:1]) not in ([], [0])
