"""L1Loss: the mean absolute difference of two blobs."""

from __future__ import annotations

import math

from torch import Tensor

from sdcaffe.layers.base import Layer, Shape, register, show_shape


@register("L1Loss")
class L1Loss(Layer):
    """sum |a - b| / n of bottoms a and b (n, ...); both get a gradient, 0 where they are equal.

    As in NVIDIA Caffe (NVIDIA/caffe@87a2554). FlowNet's layer of this name, with an l1_loss_param, is another.
    """

    origin = "NVIDIA Caffe"
    bottoms = 2
    loss = True
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        one, other = bottom_shapes
        if not one or not other or one[0] != other[0] or math.prod(one[1:]) != math.prod(other[1:]):
            raise self.error(f"bottoms must have one n and one size: {show_shape(one)} and {show_shape(other)}")
        return [()]

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        loss: Tensor = (one - other.reshape(one.shape)).abs().sum() / len(one)
        return loss
