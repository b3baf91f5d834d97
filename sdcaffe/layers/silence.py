"""Silence: takes blobs that nothing else reads."""

from __future__ import annotations

from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import Layer, Shape, register


@register("Silence")
class Silence(Layer):
    """Any number of bottoms, no top, no gradient."""

    bottoms = (1, None)
    tops = 0

    @classmethod
    def deployed(cls, layer_param: proto.LayerParameter) -> proto.LayerParameter | None:
        return None

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        return []

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return ()
