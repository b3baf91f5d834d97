"""DepthToSpace: channels as squares of pixels, in the orders of TensorFlow and ONNX."""

from __future__ import annotations

from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import Layer, Shape, Source, SourceBuilder, call, register, show_shape


def depth_to_space(x: Tensor, size: int, order: str) -> Tensor:
    """(n, c * size^2, h, w) to (n, c, h * size, w * size), c counted first (CRD) or last (DCR, and NHWC)."""
    if order == "NHWC":
        x = x.permute(0, 3, 1, 2)
    n, c, h, w = x.shape
    c = c // (size * size)
    if order == "CRD":
        squares = x.reshape(n, c, size, size, h, w).permute(0, 1, 4, 2, 5, 3)
    else:
        squares = x.reshape(n, size, size, c, h, w).permute(0, 3, 4, 1, 5, 2)
    top = squares.reshape(n, c, h * size, w * size)
    return top.permute(0, 2, 3, 1) if order == "NHWC" else top


class DepthToSpaceParameter:
    block_size: int
    data_format: str = "NHWC"


@register("DepthToSpace", field="depth_to_space_param", number=208)
class DepthToSpace(Layer):
    """Channels as squares of block_size by block_size pixels; data_format NHWC, the default, NCHW (DCR) or CRD.

    As in Synopsys' Caffe (synopsys-caffe@977ba36), which has no backward; here the gradient goes back to its place.
    """

    param: proto.DepthToSpaceParameter

    Param = DepthToSpaceParameter
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        (bottom,) = bottom_shapes
        size, order = self.param.block_size, self.param.data_format
        if size < 1:
            raise self.error("needs a block_size of at least 1", "block_size")
        if order not in ("NHWC", "NCHW", "DCR", "CRD"):
            raise self.error(f"data_format must be NHWC, NCHW, DCR or CRD, not {order}", "data_format")
        channel = 3 if order == "NHWC" else 1
        if len(bottom) != 4 or bottom[channel] % size**2:
            raise self.error(f"needs channels that are a multiple of {size**2}: {show_shape(bottom)}")
        few = bottom[channel] // size**2
        if order == "NHWC":
            return [(bottom[0], bottom[1] * size, bottom[2] * size, few)]
        return [(bottom[0], few, bottom[2] * size, bottom[3] * size)]

    def forward(self, bottom: Tensor) -> Tensor:
        return depth_to_space(bottom, self.param.block_size, self.param.data_format)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        settings = (str(self.param.block_size), f'"{self.param.data_format}"')
        return Source(call(builder.part(depth_to_space), "{0}", *settings))
