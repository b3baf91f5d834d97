"""UpsampleDarknet: each pixel as a square."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from sdcaffe import proto
from sdcaffe.layers.base import Layer, Shape, Source, SourceBuilder, register, show_shape


class UpsampleDarknetParameter:
    stride: int = 1


@register("UpsampleDarknet", field="upsample_darknet_param", number=209)
class UpsampleDarknet(Layer):
    """Every pixel of (n, c, h, w) as a square of stride by stride, as in Synopsys' Caffe (synopsys-caffe@977ba36)."""

    param: proto.UpsampleDarknetParameter
    Param = UpsampleDarknetParameter
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        (bottom,) = bottom_shapes
        if len(bottom) != 4:
            raise self.error(f"needs a bottom (n, c, h, w), not {show_shape(bottom)}")
        if self.param.stride < 1:
            raise self.error(f"stride must be at least 1, not {self.param.stride}", "stride")
        return [(*bottom[:2], bottom[2] * self.param.stride, bottom[3] * self.param.stride)]

    def forward(self, bottom: Tensor) -> Tensor:
        return F.interpolate(bottom, scale_factor=self.param.stride, mode="nearest")

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        return Source(f'F.interpolate({{0}}, scale_factor={float(self.param.stride)}, mode="nearest")')
