"""ELU, the exponential linear unit."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from sdcaffe import proto
from sdcaffe.layers.base import Shape, Source, SourceBuilder, number, register
from sdcaffe.layers.neuron import NeuronLayer


@register("ELU", field="elu_param")
class ELU(NeuronLayer):
    """y = x above 0, alpha * (exp(x) - 1) elsewhere (Clevert et al. 2015)."""

    param: proto.ELUParameter

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        self.alpha: float = self.param.alpha
        return super().setup(bottom_shapes)

    def forward(self, bottom: Tensor) -> Tensor:
        return F.elu(bottom, self.alpha)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        return Source(f"F.elu({{0}}, {number(self.alpha)})")
