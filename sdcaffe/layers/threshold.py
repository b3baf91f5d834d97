"""Threshold: which values exceed a bound. It has no backward."""

from __future__ import annotations

from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import Shape, Source, SourceBuilder, number, register
from sdcaffe.layers.neuron import NeuronLayer


@register("Threshold", field="threshold_param")
class Threshold(NeuronLayer):
    """y = 1 where x > threshold, else 0."""

    param: proto.ThresholdParameter

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        self.threshold: float = self.param.threshold
        return super().setup(bottom_shapes)

    def forward(self, bottom: Tensor) -> Tensor:
        return (bottom.detach() > self.threshold).to(bottom.dtype)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        return Source(f"torch.gt({{0}}, {number(self.threshold)}).float()")
