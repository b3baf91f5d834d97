"""Power of a linear function."""

from __future__ import annotations

import torch
from torch import Tensor

from sdcaffe.layers.base import Shape, register
from sdcaffe.layers.neuron import NeuronLayer


@register("Power", field="power_param")
class Power(NeuronLayer):
    """y = (shift + scale * x) ^ power. Power 0 gives 1 everywhere, also of 0, with derivative 0.

    The derivative is power * scale * (shift + scale * x) ^ (power - 1) throughout; Caffe divides y by x
    where the shift is 0, which is the same but for NaN at x = 0.
    """

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        self.power: float = self.param.power
        self.scale: float = self.param.scale
        self.shift: float = self.param.shift
        return super().setup(bottom_shapes)

    def forward(self, bottom: Tensor) -> Tensor:
        base = bottom if self.scale == 1 else bottom * self.scale
        base = base if self.shift == 0 else base + self.shift
        return base if self.power == 1 else torch.pow(base, self.power)
