"""Clip to an interval."""

from __future__ import annotations

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import Shape, Source, SourceBuilder, number, register
from sdcaffe.layers.neuron import NeuronLayer


@register("Clip", field="clip_param")
class Clip(NeuronLayer):
    """y = max(min, min(x, max)); the derivative is 1 on the closed interval, 0 elsewhere.

    A min above max gives min everywhere, as in Caffe. Raises LayerError where a bound is missing.
    """

    param: proto.ClipParameter

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        for bound in ("min", "max"):
            if not self.param.HasField(bound):
                raise self.error(f"clip_param.{bound} is required", bound)
        self.low: float = self.param.min
        self.high: float = self.param.max
        return super().setup(bottom_shapes)

    def forward(self, bottom: Tensor) -> Tensor:
        # torch.clamp's own derivative on the bounds is 0 in some of its versions
        inside = (bottom >= self.low) & (bottom <= self.high)
        return torch.where(inside, bottom, bottom.detach().clamp(max=self.high).clamp(min=self.low))

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        if self.low > self.high:
            raise self.unwritten(f"a Clip to the empty interval from {self.low:g} to {self.high:g}")
        return Source(f"torch.clamp({{0}}, {number(self.low)}, {number(self.high)})")
