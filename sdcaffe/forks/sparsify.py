"""Sparsify: small numbers put to 0, and an L1 regularisation of activations."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import OnnxBuilder, Shape, Source, SourceBuilder, number, register
from sdcaffe.layers.neuron import NeuronLayer


class SparsifyParameter:
    thre: float = 0.0
    coef: float = 0.0


class _Shrunk(torch.autograd.Function):
    """Numbers that come nearer to 0; their gradient is pushed there too."""

    @staticmethod
    def forward(ctx: Any, bottom: Tensor, least: float, push: float) -> Tensor:
        top = torch.nn.functional.softshrink(bottom, least) if least else bottom.clone()
        ctx.save_for_backward(top)
        ctx.least, ctx.push = least, push
        return top

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (top,) = ctx.saved_tensors
        found = grad + ctx.push * top.sign()
        return (found.masked_fill(top == 0, 0) if ctx.least else found), None, None


@register("Sparsify", field="sparsify_param", number=1377)
class Sparsify(NeuronLayer):
    """y = sign(x) max(|x| - thre, 0); the gradient has coef * sign(y) added, whatever the loss, and is 0 where y is.

    As in wenwei202/caffe@f54a74a. With thre 0 y is x, and the gradient is 0 nowhere.
    """

    param: proto.SparsifyParameter
    origin = "wenwei202/caffe"

    Param = SparsifyParameter
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        if self.param.thre < 0 or self.param.coef < 0:
            raise self.error("thre and coef must be 0 or more", "thre")
        return bottom_shapes

    def forward(self, bottom: Tensor) -> Tensor:
        top: Tensor = _Shrunk.apply(bottom, self.param.thre, self.param.coef)
        return top

    def to_onnx(self, builder: OnnxBuilder, *bottoms: Tensor) -> Tensor:
        return torch.nn.functional.softshrink(bottoms[0], self.param.thre) if self.param.thre else bottoms[0] + 0

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        return Source(f"F.softshrink({{0}}, {number(self.param.thre)})" if self.param.thre else "{0}")
