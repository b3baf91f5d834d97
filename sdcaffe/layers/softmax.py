"""Softmax over one axis. The loss on top of it is in softmax_loss.py."""

from __future__ import annotations

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import Layer, Shape, Source, SourceBuilder, canonical_axis, register


@register("Softmax", field="softmax_param")
class Softmax(Layer):
    """exp(x) / sum exp(x) along `axis`; the top has the shape of the bottom."""

    param: proto.SoftmaxParameter
    in_place = True
    probabilities = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        self.axis = canonical_axis(self, self.param.axis, len(bottom_shapes[0]))
        return list(bottom_shapes)

    def forward(self, bottom: Tensor) -> Tensor:
        return torch.softmax(bottom, self.axis)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        return Source(f"torch.softmax({{0}}, {self.axis})")

    @classmethod
    def mixes_items(cls, layer_param: proto.LayerParameter) -> bool:
        return layer_param.softmax_param.axis == 0
