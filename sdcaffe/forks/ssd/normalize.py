"""Normalize: L2 normalisation with a learned scale."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import Layer, Shape, register, show_shape
from sdcaffe.proto.schema import Message


class NormalizeParameter:
    across_spatial: bool = True
    scale_filler: Any = Message("FillerParameter")
    channel_shared: bool = True
    eps: float = 1e-10


@register("Normalize", field="norm_param", number=206)
class Normalize(Layer):
    """y = scale * x / sqrt(sum x^2 + eps) of a bottom (n, c, ...), as in SSD.

    The sum goes over a whole item, or, where across_spatial is false, over the channels of each position.
    Blob 0 is the scale, 1 without a filler: one number, shape (), or one a channel, (c,), where
    channel_shared is false.
    """

    Param = NormalizeParameter
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        (bottom,) = bottom_shapes
        param = self.param
        if len(bottom) < 2:
            raise self.error(f"needs a bottom (n, c, ...), not {show_shape(bottom)}")
        if not param.eps >= 0:
            raise self.error(f"eps must be 0 or more, not {param.eps:g}", "eps")
        one = proto.FillerParameter(type="constant", value=1)
        shape: Shape = () if param.channel_shared else (bottom[1],)
        self.blob(0, shape, param.scale_filler if param.HasField("scale_filler") else one)
        self.axes = tuple(range(1, len(bottom))) if param.across_spatial else (1,)
        self.view = (-1, *[1] * (len(bottom) - 2))
        self.eps: float = param.eps
        return [bottom]

    def forward(self, bottom: Tensor) -> Tensor:
        norm = (bottom.square().sum(self.axes, keepdim=True) + self.eps).sqrt()
        return bottom / norm * self.blobs[0].reshape(self.view)
