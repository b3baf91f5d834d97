"""Power of a linear function."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import OnnxBuilder, Shape, Source, SourceBuilder, linear_text, number, register
from sdcaffe.layers.neuron import NeuronLayer


def _power(base: float, exponent: float) -> float:
    """C's pow: NaN and infinity where Python raises or goes to complex numbers."""
    return float(torch.tensor(base, dtype=torch.float64) ** exponent)


class _Constant(torch.autograd.Function):
    """A blob like the bottom that holds one value, whatever the bottom holds. Its derivative is 0."""

    @staticmethod
    def forward(ctx: Any, bottom: Tensor, value: float) -> Tensor:
        return torch.full_like(bottom, value)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad.new_zeros(()).expand_as(grad), None


@register("Power", field="power_param")
class Power(NeuronLayer):
    """y = (shift + scale * x) ^ power. Power 0 gives 1 everywhere, scale 0 shift ^ power; the derivative is then 0.

    The derivative is power * scale * (shift + scale * x) ^ (power - 1) throughout; Caffe divides y by x
    where the shift is 0, which is the same but for NaN at x = 0.
    """

    param: proto.PowerParameter

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        self.power: float = self.param.power
        self.scale: float = self.param.scale
        self.shift: float = self.param.shift
        self.constant: float = 1.0 if self.power == 0 else _power(self.shift, self.power)
        return super().setup(bottom_shapes)

    def forward(self, bottom: Tensor) -> Tensor:
        if self.scale == 0 or self.power == 0:
            constant: Tensor = _Constant.apply(bottom, self.constant)
            return constant
        base = bottom if self.scale == 1 else bottom * self.scale
        base = base if self.shift == 0 else base + self.shift
        return base if self.power == 1 else torch.pow(base, self.power)

    def to_onnx(self, builder: OnnxBuilder, *bottoms: Tensor) -> Tensor:
        (x,) = bottoms
        if self.scale and self.power:
            return self.forward(x)
        # a constant as a product with 0, an operator that every runtime and importer knows
        return x * 0 if self.constant == 0 else x * 0 + self.constant

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        linear = linear_text(self.scale, self.shift)
        if self.power == 1:
            return Source(linear, nests=linear == "{0}")
        return Source(f"torch.pow({linear}, {number(self.power)})", nests=linear == "{0}")
