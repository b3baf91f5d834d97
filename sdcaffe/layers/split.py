"""Split: one blob under several names."""

from __future__ import annotations

from torch import Tensor

from sdcaffe.layers.base import Layer, Shape, register


@register("Split")
class Split(Layer):
    """Every top is the bottom; their gradients add up. Nothing is copied, as no layer writes into a bottom."""

    tops = (1, None)
    copies = True
    keeps_places = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        return bottom_shapes * len(self.layer_param.top)

    def forward(self, bottom: Tensor) -> tuple[Tensor, ...]:
        return (bottom,) * len(self.layer_param.top)
