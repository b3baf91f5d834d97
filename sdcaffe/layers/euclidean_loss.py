"""EuclideanLoss: half the mean squared distance of two blobs."""

from __future__ import annotations

import math

from torch import Tensor

from sdcaffe.layers.base import Shape, register, show_shape
from sdcaffe.layers.loss import LossLayer


@register("EuclideanLoss")
class EuclideanLoss(LossLayer):
    """sum (a - b)^2 / (2 n). Both bottoms get a gradient."""

    index_bottoms = ()

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        self.check_same_number(bottom_shapes)
        first, second = bottom_shapes
        if math.prod(first[1:]) != math.prod(second[1:]):
            raise self.error(f"bottoms {show_shape(first)} and {show_shape(second)} must have the same dimension")
        return [()]

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        difference = first - second.reshape(first.shape)
        return difference.square().sum() / (2 * max(1, first.shape[0]))
