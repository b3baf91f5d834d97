"""BNLL, the binomial normal log likelihood (softplus)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from sdcaffe.layers.base import Shape, Source, SourceBuilder, register
from sdcaffe.layers.neuron import NeuronLayer

_SATURATION = 50.0  # above it the derivative is taken as 1, Caffe's bound


@register("BNLL")
class BNLL(NeuronLayer):
    """y = log(1 + exp(x)), without overflow."""

    def forward(self, bottom: Tensor) -> Tensor:
        return F.softplus(bottom, threshold=_SATURATION)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        return Source(f"F.softplus({{0}}, threshold={_SATURATION})")
