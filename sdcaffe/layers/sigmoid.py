"""Sigmoid."""

from __future__ import annotations

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import Shape, Source, SourceBuilder, register
from sdcaffe.layers.neuron import NeuronLayer


@register("Sigmoid", field="sigmoid_param")
class Sigmoid(NeuronLayer):
    """y = 1 / (1 + exp(-x))."""

    param: proto.SigmoidParameter

    def forward(self, bottom: Tensor) -> Tensor:
        return torch.sigmoid(bottom)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        return Source("torch.sigmoid({0})")
