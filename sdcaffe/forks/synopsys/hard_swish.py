"""HardSwish: x times a ramp from 0 to 1."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from sdcaffe.layers.base import Shape, Source, SourceBuilder, register
from sdcaffe.layers.neuron import NeuronLayer


@register("HardSwish")
class HardSwish(NeuronLayer):
    """y = x * min(max(x + 3, 0), 6) / 6, as in MobileNetV3 and Synopsys' Caffe (synopsys-caffe@977ba36)."""

    yields = True

    def forward(self, bottom: Tensor) -> Tensor:
        return F.hardswish(bottom)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        return Source("F.hardswish({0})")
