"""MaskPooling: features of regions times masks of them."""

from __future__ import annotations

from torch import Tensor

from sdcaffe.layers.base import Layer, Shape, Source, SourceBuilder, register, show_shape


@register("MaskPooling")
class MaskPooling(Layer):
    """Features (n, c, h, w) times masks (n, 1, h, w), as in MNC (daijifeng001/caffe-mnc@b7bdfee)."""

    bottoms = 2
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        bottom, mask = bottom_shapes
        if len(bottom) != 4 or mask != (bottom[0], 1, *bottom[2:]):
            raise self.error(
                f"needs features (n, c, h, w) and masks (n, 1, h, w): {show_shape(bottom)} and {show_shape(mask)}"
            )
        return [bottom]

    def forward(self, bottom: Tensor, mask: Tensor) -> Tensor:
        return bottom * mask

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        return Source("{0} * {1}", nests=False)
