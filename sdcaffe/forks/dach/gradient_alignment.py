"""GradientAlignment: two copies of a blob, the gradient of the second brought to the size of the first's."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.forks.dach import ORIGIN
from sdcaffe.layers.base import Layer, OnnxBuilder, Shape, Source, SourceBuilder, register


class GradientAlignmentParameter:
    """lambda, which is a word of Python's: how much the second gradient counts."""

    __annotations__ = {"lambda": Annotated[float, 1]}


setattr(GradientAlignmentParameter, "lambda", 1.0)


class _Aligned(torch.autograd.Function):
    """The bottom twice; its gradient is the first top's and the second's, raised towards the first's."""

    @staticmethod
    def forward(ctx: Any, bottom: Tensor, weight: float) -> tuple[Tensor, Tensor]:
        ctx.weight = weight
        return bottom.clone(), bottom.clone()

    @staticmethod
    def backward(ctx: Any, first: Tensor, second: Tensor) -> tuple[Tensor, None]:
        ratio = (first.square().sum() / second.square().sum()).nan_to_num(posinf=1.0).clamp(min=1)
        return first + ctx.weight * ratio * second, None


@register("GradientAlignment", field="gradient_alignment_param", number=168)
class GradientAlignment(Layer):
    """Both tops are the bottom; its gradient is g0 + lambda * max(|g0|^2 / |g1|^2, 1) * g1 of the tops'.

    As in CAFFE-DACH (JiahaoLi-gdut/CAFFE-DACH@388c826). Where g1 is 0 nothing is added; there it is NaN.
    """

    param: proto.GradientAlignmentParameter
    origin = ORIGIN

    Param = GradientAlignmentParameter
    tops = 2
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        return bottom_shapes * 2

    def forward(self, bottom: Tensor) -> tuple[Tensor, Tensor]:
        tops: tuple[Tensor, Tensor] = _Aligned.apply(bottom, getattr(self.param, "lambda"))
        return tops

    def to_onnx(self, builder: OnnxBuilder, *bottoms: Tensor) -> tuple[Tensor, Tensor]:
        return bottoms[0] + 0, bottoms[0] + 0

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        return Source("({0}, {0})", nests=False)
