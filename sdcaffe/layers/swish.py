"""Swish."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from sdcaffe import proto
from sdcaffe.layers.base import Shape, Source, SourceBuilder, number, register
from sdcaffe.layers.neuron import NeuronLayer


@register("Swish", field="swish_param")
class Swish(NeuronLayer):
    """y = x * sigmoid(beta * x) (Ramachandran et al. 2017)."""

    param: proto.SwishParameter

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        self.beta: float = self.param.beta
        return super().setup(bottom_shapes)

    def forward(self, bottom: Tensor) -> Tensor:
        if self.beta == 1:
            return F.silu(bottom)
        return bottom * torch.sigmoid(bottom * self.beta)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        if self.beta == 1:
            return Source("F.silu({0})")
        return Source(f"{{0}} * torch.sigmoid({{0}} * {number(self.beta)})", nests=False)
