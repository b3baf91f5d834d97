"""LargeMarginInnerProduct: the inner product with a margin of L-Softmax."""

from __future__ import annotations

import enum

from torch import Tensor

from sdcaffe import proto
from sdcaffe.forks.face.margins import MarginProduct, margin
from sdcaffe.layers.base import register


class LargeMarginInnerProductParameter:
    class LargeMarginType(enum.IntEnum):
        SINGLE = 0
        DOUBLE = 1
        TRIPLE = 2
        QUADRUPLE = 3

    num_output: int
    type: LargeMarginType = LargeMarginType.SINGLE
    weight_filler: proto.FillerParameter
    axis: int = 1
    base: float = 1.0
    gamma: float = 0.0
    power: float = 1.0
    iteration: int = 0
    lambda_min: float = 0.0


@register("LargeMarginInnerProduct", field="largemargin_inner_product_param", number=1402)
class LargeMarginInnerProduct(MarginProduct):
    """x (n, ...) by vectors w; by its own class's |x| |w| ((-1)^k cos(m a) - 2 k).

    As in L-Softmax (wy1iu/LargeMargin_Softmax_Loss@c3e9f20), whose number 202 is SSD's permute_param. a is the angle
    between x and w, k how many whole pi are in m a; m is 2, 3 or 4 of DOUBLE, TRIPLE,
    QUADRUPLE. Blob 0 is the vectors, (num_output, k). Labels are bottom 1; the
    second top is lambda, by which the plain product is weighed in, and which falls with each pass. In a deployed net
    it is an InnerProduct, as its SINGLE is.
    """

    param: proto.LargeMarginInnerProductParameter
    origin = "L-Softmax (wy1iu/LargeMargin_Softmax_Loss)"
    Param = LargeMarginInnerProductParameter

    @classmethod
    def deployed(cls, layer_param: proto.LayerParameter) -> proto.LayerParameter | None:
        param = layer_param.largemargin_inner_product_param
        plain = proto.LayerParameter(name=layer_param.name, type="InnerProduct")
        plain.bottom.append(layer_param.bottom[0])
        plain.top.append(layer_param.top[0])
        plain.param.extend(layer_param.param)
        plain.inner_product_param.num_output, plain.inner_product_param.axis = param.num_output, param.axis
        plain.inner_product_param.bias_term = False
        return plain

    def moved(self, rows: Tensor, own: Tensor, vectors: Tensor, weight: Tensor) -> Tensor:
        lengths = rows.norm(dim=1) * vectors.norm(dim=1) + 1e-9
        value, _ = margin(own / lengths, self.multiple)
        return (lengths * value - own) / (1 + weight)
