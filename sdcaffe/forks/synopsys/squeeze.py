"""Squeeze: axes of size 1 taken out."""

from __future__ import annotations

from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import Layer, Shape, Source, SourceBuilder, canonical_axis, register, show_shape


class SqueezeParameter:
    axis: list[int]


@register("Squeeze", field="squeeze_param", number=241)
class Squeeze(Layer):
    """The axes named, each of size 1, taken out; all of size 1 where none is named. A negative one counts from the end.

    As in Synopsys' Caffe (synopsys-caffe@977ba36).
    """

    param: proto.SqueezeParameter
    Param = SqueezeParameter
    views = True
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        (bottom,) = bottom_shapes
        named = {canonical_axis(self, axis, len(bottom)) for axis in self.param.axis}
        for axis in named:
            if bottom[axis] != 1:
                raise self.error(f"axis {axis} has the size {bottom[axis]}, not 1, in {show_shape(bottom)}", "axis")
        self.gone = named if self.param.axis else {i for i, size in enumerate(bottom) if size == 1}
        return [tuple(size for i, size in enumerate(bottom) if i not in self.gone)]

    def forward(self, bottom: Tensor) -> Tensor:
        return bottom.reshape([size for i, size in enumerate(bottom.shape) if i not in self.gone])

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        return Source(f"{{0}}.squeeze(({', '.join(map(str, sorted(self.gone)))},))" if self.gone else "{0}")
