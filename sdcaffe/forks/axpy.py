"""Axpy: a shortcut plus a branch scaled channel by channel, the end of a squeeze-and-excitation block."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sdcaffe.layers.base import Layer, Shape, Source, SourceBuilder, register, show_shape


@register("Axpy")
class Axpy(Layer):
    """y = a * x + b (SENet): bottoms a (n, c) or (n, c, 1, 1), x (n, c, ...) and b of x's shape, in this order."""

    origin = "SENet"

    bottoms = 3
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        scale, x, y = bottom_shapes
        if len(x) < 2 or scale[:2] != x[:2] or math.prod(scale[2:]) != 1:
            raise self.error(f"the first bottom has a number for each channel: {show_shape(scale)} for {show_shape(x)}")
        if x != y:
            raise self.error(f"the last bottoms must have one shape, not {show_shape(x)} and {show_shape(y)}")
        return [x]

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        trailing = ", None" * (len(bottoms[1]) - 2)
        return Source(f"torch.addcmul({{2}}, {{0}}.flatten(1)[:, :{trailing}], {{1}})", nests=False)

    def forward(self, scale: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return torch.addcmul(y, scale.reshape(*scale.shape[:2], *[1] * (x.dim() - 2)), x)
