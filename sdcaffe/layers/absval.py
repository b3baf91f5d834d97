"""AbsVal, the absolute value."""

from __future__ import annotations

import torch
from torch import Tensor

from sdcaffe.layers.base import Shape, Source, SourceBuilder, register
from sdcaffe.layers.neuron import NeuronLayer


@register("AbsVal")
class AbsVal(NeuronLayer):
    """y = |x|, with derivative 0 at 0. The one neuron layer that Caffe refuses to run in place."""

    in_place = False

    def forward(self, bottom: Tensor) -> Tensor:
        return torch.abs(bottom)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        return Source("torch.abs({0})")
