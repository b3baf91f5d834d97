"""MarginInnerProduct: SphereFace's inner product with an angular margin, A-Softmax."""

from __future__ import annotations

import enum
from typing import Any

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.forks.face.margins import LEAST, MarginProduct, margin
from sdcaffe.layers.base import register


class MarginInnerProductParameter:
    class MarginType(enum.IntEnum):
        SINGLE = 0
        DOUBLE = 1
        TRIPLE = 2
        QUADRUPLE = 3

    num_output: int
    type: MarginType = MarginType.SINGLE
    weight_filler: proto.FillerParameter
    axis: int = 1
    base: float = 1.0
    gamma: float = 0.0
    power: float = 1.0
    iteration: int = 0
    lambda_min: float = 0.0


class _Moved(torch.autograd.Function):
    """(|x| margin - own) / (1 + weight); backward the fork's direction for the rows, nothing for the vectors."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, own: Tensor, vectors: Tensor, weight: Tensor, times: int) -> Tensor:
        length = rows.norm(dim=1).clamp(min=LEAST)
        cosine = own / length
        value, slope = margin(cosine, times)
        ctx.save_for_backward(rows, vectors, weight, slope, (value - slope * cosine) / length)
        return (length * value - own) / (1 + weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        rows, vectors, weight, along_vector, along_row = ctx.saved_tensors
        size = torch.hypot(along_vector, along_row).clamp(min=LEAST)
        moved = (along_vector / size).unsqueeze(1) * vectors + (along_row / size).unsqueeze(1) * rows
        return (grad / (1 + weight)).unsqueeze(1) * (moved - vectors), None, None, None, None


@register("MarginInnerProduct", field="margin_inner_product_param", number=1447)
class MarginInnerProduct(MarginProduct):
    """x (n, ...) by vectors of length 1; by its own class's |x| ((-1)^k cos(m a) - 2 k).

    As in SphereFace (wy1iu/sphereface@f20b130), whose number 147 is BVLC Caffe's swish_param. a is the angle between x
    and the vector, k how many whole pi are in m a; m is 2, 3 or 4 of DOUBLE, TRIPLE, QUADRUPLE. Blob 0 is the vectors
    (num_output, k); each pass makes them 1 long. Labels are bottom 1; the second top is lambda, by which the plain
    product is weighed in, and which falls with each pass. The gradient is the fork's: to the vectors that of plain
    products; to x, of the own class's share without lambda, a direction whose two coefficients are made 1 long. A
    deployed net ends before this layer.
    """

    param: proto.MarginInnerProductParameter
    origin = "SphereFace (wy1iu/sphereface)"
    Param = MarginInnerProductParameter

    @classmethod
    def deployed(cls, layer_param: proto.LayerParameter) -> proto.LayerParameter | None:
        return None

    def vectors(self) -> Tensor:
        vectors: Tensor = self.blobs[0]
        with torch.no_grad():
            vectors.div_(vectors.norm(dim=1, keepdim=True).clamp(min=LEAST))
        return vectors

    def moved(self, rows: Tensor, own: Tensor, vectors: Tensor, weight: Tensor) -> Tensor:
        found: Tensor = _Moved.apply(rows, own.detach(), vectors.detach(), weight, self.multiple)
        return found
