"""Log, to any base."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import Shape, Source, SourceBuilder, linear_text, register
from sdcaffe.layers.neuron import NeuronLayer


@register("Log", field="log_param")
class Log(NeuronLayer):
    """y = log_base(shift + scale * x); base -1, the default, stands for e.

    Raises LayerError for another base that is not positive, and for base 1.
    """

    param: proto.LogParameter

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        base = self.param.base
        if base != -1 and (base <= 0 or base == 1):
            raise self.error(f"base (={base:g}) must be positive and not 1, or -1 for e", "base")
        self.log_base = 1.0 if base == -1 else math.log(base)
        self.scale: float = self.param.scale
        self.shift: float = self.param.shift
        return super().setup(bottom_shapes)

    def forward(self, bottom: Tensor) -> Tensor:
        inner = bottom if self.scale == 1 else bottom * self.scale
        inner = inner if self.shift == 0 else inner + self.shift
        top = torch.log(inner)
        return top if self.log_base == 1 else top / self.log_base

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        linear = linear_text(self.scale, self.shift)
        outer = "" if self.log_base == 1 else f" / {self.log_base!r}"
        return Source(f"torch.log({linear}){outer}", nests=linear == "{0}")
