"""SmoothL1Loss: the loss of box offsets, square near 0 and linear beyond."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import Layer, Shape, register, show_shape


class SmoothL1LossParameter:
    sigma: float = 1.0


def check_as_many(layer: Layer, bottom_shapes: list[Shape]) -> None:
    """Raises LayerError unless all bottoms have the first one's number of items and of values."""
    first = bottom_shapes[0]
    for i, shape in enumerate(bottom_shapes):
        if not shape or shape[0] != first[0] or math.prod(shape) != math.prod(first):
            raise layer.error(f"bottom {i} must have the shape of bottom 0, {show_shape(first)}: {show_shape(shape)}")


@register("SmoothL1Loss", field="smooth_l1_loss_param", number=8266712)
class SmoothL1Loss(Layer):
    """The sum of outside * f(inside * (a - b)) over n.

    f(d) is (sigma d)^2 / 2 where |d| is below 1 / sigma^2, and |d| - 1 / (2 sigma^2) beyond.
    As in Fast R-CNN (rbgirshick/caffe-fast-rcnn@4115385) and SSD. Bottoms: a and b (n, ...), and both weights, inside
    and outside, of their shape, or neither. Where no loss_weight is written it is 0, as in Fast R-CNN, and nothing is
    trained; read as SSD's it is 1 (--fork). Both a and b get a gradient, the weights none. The top is one number.
    """

    param: proto.SmoothL1LossParameter
    origin = "Fast R-CNN, SSD"

    Param = SmoothL1LossParameter
    bottoms = (2, 4)
    index_bottoms = (2, 3)
    yields = True

    @classmethod
    def deployed(cls, layer_param: proto.LayerParameter) -> proto.LayerParameter | None:
        return None

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        if len(bottom_shapes) == 3:
            raise self.error("has inside weights, so it needs outside weights too, as a fourth bottom", "bottom")
        check_as_many(self, bottom_shapes)
        if self.param.sigma == 0:
            raise self.error("sigma must not be 0", "sigma")
        return [()]

    def forward(self, first: Tensor, second: Tensor, *weights: Tensor) -> Tensor:
        square = self.param.sigma**2
        difference = first - second.reshape(first.shape)
        inside, outside = (w.reshape(first.shape) for w in weights) if weights else (None, None)
        if inside is not None:
            difference = inside * difference
        size = difference.abs()
        costs = torch.where(size < 1 / square, difference.square() * (square / 2), size - 0.5 / square)
        if outside is not None:
            costs = outside * costs
        return costs.sum() / first.shape[0]
