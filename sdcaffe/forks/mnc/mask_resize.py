"""MaskResize: masks of another size, linear between pixels."""

from __future__ import annotations

from torch import Tensor

from sdcaffe import proto
from sdcaffe.forks.mnc import source_parts
from sdcaffe.layers.base import Layer, Shape, Source, SourceBuilder, register, show_shape


class MaskResizeParameter:
    output_height: int = 0
    output_width: int = 0


@register("MaskResize", field="mask_resize_param", number=11890)
class MaskResize(Layer):
    """A bottom (n, c, h, w) as (n, c, output_height, output_width): output i lies at pixel i * h / output_height.

    As in MNC (daijifeng001/caffe-mnc@b7bdfee). Outputs more than half a pixel behind the last one are 0: they come of
    making a mask more than twice as large. The gradient is the fork's, which is the true one unless a mask is made
    larger: of each pixel it then takes two outputs an axis.
    """

    param: proto.MaskResizeParameter
    Param = MaskResizeParameter
    fixes = "size"
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        (bottom,) = bottom_shapes
        self.size = [int(self.param.output_height), int(self.param.output_width)]
        if min(self.size) < 1:
            raise self.error("output_height and output_width must be above 0", "output_height")
        if len(bottom) != 4:
            raise self.error(f"the bottom must have 4 axes (n, c, h, w): {show_shape(bottom)}")
        return [(*bottom[:2], *self.size)]

    def forward(self, bottom: Tensor) -> Tensor:
        return source_parts.resize_mask(bottom, self.size)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        builder.part(source_parts.corners)
        return Source(f"{builder.part(source_parts.resize_mask)}({{0}}, {self.size})")
