"""Exp, to any base."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import Shape, Source, SourceBuilder, register
from sdcaffe.layers.neuron import NeuronLayer


@register("Exp", field="exp_param")
class Exp(NeuronLayer):
    """y = base ^ (shift + scale * x); base -1, the default, stands for e.

    Raises LayerError for another base that is not positive.
    """

    param: proto.ExpParameter

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        base = self.param.base
        if base != -1 and base <= 0:
            raise self.error(f"base (={base:g}) must be positive, or -1 for e", "base")
        log_base = 1.0 if base == -1 else math.log(base)
        self.inner = log_base * self.param.scale
        try:
            self.outer = math.exp(log_base * self.param.shift)
        except OverflowError:
            self.outer = math.inf
        return super().setup(bottom_shapes)

    def forward(self, bottom: Tensor) -> Tensor:
        power = bottom if self.inner == 1 else bottom * self.inner
        top = torch.exp(power)
        return top if self.outer == 1 else top * self.outer

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        inner = "{0}" if self.inner == 1 else f"{{0}} * {self.inner!r}"
        outer = "" if self.outer == 1 else f" * {self.outer!r}"
        return Source(f"torch.exp({inner}){outer}", nests=self.inner == 1)
