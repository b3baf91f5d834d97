"""TanH, the hyperbolic tangent."""

from __future__ import annotations

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import Shape, Source, SourceBuilder, register
from sdcaffe.layers.neuron import NeuronLayer


@register("TanH", field="tanh_param")
class TanH(NeuronLayer):
    """y = tanh(x)."""

    param: proto.TanHParameter

    def forward(self, bottom: Tensor) -> Tensor:
        return torch.tanh(bottom)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        return Source("torch.tanh({0})")
