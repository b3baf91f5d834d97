"""Flip: an image mirrored."""

from __future__ import annotations

from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import Layer, Shape, Source, SourceBuilder, register, show_shape


class FlipParameter:
    flip_width: bool = True
    flip_height: bool = False


@register("Flip", field="flip_param", number=212)
class Flip(Layer):
    """(n, c, h, w) mirrored from left to right, unless flip_width is false, and with flip_height upside down.

    As in happynear/caffe-windows@967eedf.
    """

    param: proto.FlipParameter
    origin = "happynear/caffe-windows"

    Param = FlipParameter
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        if len(bottom_shapes[0]) != 4:
            raise self.error(f"needs a bottom (n, c, h, w), not {show_shape(bottom_shapes[0])}")
        self.axes = [axis for axis, given in ((2, self.param.flip_height), (3, self.param.flip_width)) if given]
        return bottom_shapes

    def forward(self, bottom: Tensor) -> Tensor:
        return bottom.flip(self.axes)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        return Source(f"{{0}}.flip({self.axes})")
