"""LRN, local response normalisation across channels or within each."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from sdcaffe import proto
from sdcaffe.layers.base import Layer, OnnxBuilder, Shape, Source, SourceBuilder, call, number, register
from sdcaffe.layers.windows import check_4d


@register("LRN", field="lrn_param")
class LRN(Layer):
    """y = x * (k + alpha * mean of x^2 over the neighbourhood) ^ -beta (Krizhevsky et al. 2012).

    The neighbourhood is local_size channels (ACROSS_CHANNELS) or local_size by local_size places
    (WITHIN_CHANNEL, where k is 1 whatever the prototxt says, as in Caffe); outside values are 0 and count.
    Raises LayerError for an even local_size or a bottom that is not 4-D.
    """

    param: proto.LRNParameter
    in_place = True
    keeps_places = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        check_4d(self, bottom_shapes[0])
        param = self.param
        self.size: int = param.local_size
        if self.size % 2 == 0:
            raise self.error(f"local_size (={self.size}) must be odd", "local_size")
        self.alpha: float = param.alpha
        self.beta: float = param.beta
        within = proto.LRNParameter.WITHIN_CHANNEL
        self.within = param.norm_region == within
        self.k: float = 1.0 if self.within else param.k
        return [bottom_shapes[0]]

    def to_onnx(self, builder: OnnxBuilder, *bottoms: Tensor) -> Tensor:
        (bottom,) = bottoms
        if self.within:
            mean = F.avg_pool2d(bottom.square(), self.size, 1, self.size // 2)
            return bottom * (mean * self.alpha + self.k).pow(-self.beta)
        sizes = {"size": self.size, "alpha": self.alpha, "beta": self.beta, "bias": self.k}
        return builder.operator("LRN", [bottom], bottom.shape, dtype=None, **sizes)  # whose definition is Caffe's

    def forward(self, bottom: Tensor) -> Tensor:
        squares = bottom.square()
        reach = self.size // 2
        if self.within:
            mean = F.avg_pool2d(squares, self.size, 1, reach)
        else:
            n, c, h, w = bottom.shape
            channels_last = squares.permute(0, 2, 3, 1).reshape(n, h * w, c)
            mean = F.avg_pool1d(channels_last, self.size, 1, reach).reshape(n, h, w, c).permute(0, 3, 1, 2)
        scale = torch.add(mean * self.alpha, self.k)
        return bottom * scale.pow(-self.beta)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        alpha, beta, k = map(number, (self.alpha, self.beta, self.k))
        if self.within:
            mean = f"F.avg_pool2d(torch.square({{0}}), {self.size}, 1, {self.size // 2})"
            return Source(f"{{0}} * torch.pow({mean} * {alpha} + {k}, -{beta})", nests=False)
        named = {"alpha": alpha, "beta": beta, "k": k if self.k != 1 else None}
        return Source(call("F.local_response_norm", "{0}", str(self.size), **named), nests=False)
