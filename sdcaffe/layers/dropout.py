"""Dropout; the identity in the test phase."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from sdcaffe import proto
from sdcaffe.layers.base import Shape, Source, SourceBuilder, number, register
from sdcaffe.layers.neuron import NeuronLayer


@register("Dropout", field="dropout_param")
class Dropout(NeuronLayer):
    """Train: each value is 0 with probability dropout_ratio, the others are scaled by 1 / (1 - ratio).

    Draws on torch's generator. Raises LayerError for a ratio outside [0, 1).
    """

    param: proto.DropoutParameter

    @classmethod
    def settings(cls, layer_param: proto.LayerParameter) -> list[str]:
        return [f"{layer_param.dropout_param.dropout_ratio:g}"]

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        self.ratio: float = self.param.dropout_ratio
        if not 0 <= self.ratio < 1:
            raise self.error(f"dropout_ratio (={self.ratio:g}) must be in [0, 1)", "dropout_ratio")
        return super().setup(bottom_shapes)

    def forward(self, bottom: Tensor) -> Tensor:
        if self.phase == proto.TEST or self.ratio == 0:
            return bottom
        return F.dropout(bottom, self.ratio)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        return Source(f"F.dropout({{0}}, {number(self.ratio)}, self.training)")
