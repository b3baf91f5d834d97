"""SmoothL1LossOHEM: SmoothL1Loss that also says what each region costs, to find the hard ones."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.forks.rcnn.smooth_l1_loss import check_as_many
from sdcaffe.layers.base import Layer, Shape, register
from sdcaffe.layers.loss import normalization, normalized


class _SmoothL1(torch.autograd.Function):
    """What the differences w * (a - b) cost, each. The gradient leaves w out once, as the fork's does."""

    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor, weight: Tensor | None) -> Tensor:
        difference = first - second
        if weight is not None:
            difference = weight * difference
        ctx.save_for_backward(difference)
        size = difference.abs()
        return torch.where(size < 1, difference.square() / 2, size - 0.5)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        (difference,) = ctx.saved_tensors
        found = grad * difference.clamp(-1, 1)
        return found, -found, None


@register("SmoothL1LossOHEM", field="loss_param")
class SmoothL1LossOHEM(Layer):
    """The sum of f(w * (a - b)), f(d) = d^2 / 2 below 1, else |d| - 1/2; and its sum over channels of each place.

    As in R-FCN (microsoft/caffe@70f521f). Bottoms: a, b and perhaps w, all (n, c) or (n, c, h, w). Top 0 is the sum
    over the normaliser, which is at least 1: n * h * w (VALID, the default, and FULL), n (BATCH_SIZE), 1 (NONE) or
    pre_fixed_normalizer (PRE_FIXED). Top 1 is (n, 1, h, w); no gradient comes back through it. As in the fork the
    gradient of a and b is not multiplied by w, and the loss weight is 0 where none is written.
    """

    param: proto.LossParameter
    bottoms = (2, 3)
    tops = (1, 2)
    index_bottoms = (2,)
    yields = True

    @classmethod
    def deployed(cls, layer_param: proto.LayerParameter) -> proto.LayerParameter | None:
        return None

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        check_as_many(self, bottom_shapes)
        first = bottom_shapes[0]
        if len(first) > 4:
            raise self.error("needs bottoms of at most 4 axes", "bottom")
        self.n, _, *places = (*first, 1, 1, 1)[:4]
        self.mode, self.inner = normalization(self.param, self.param.VALID), math.prod(places)
        return [(), (self.n, 1, *places)][: len(self.layer_param.top)]

    def forward(self, first: Tensor, second: Tensor, weight: Tensor | None = None) -> Tensor | tuple[Tensor, ...]:
        weight = None if weight is None else weight.reshape(first.shape)
        costs = _SmoothL1.apply(first, second.reshape(first.shape), weight)
        loss = normalized(costs.sum(), self.param, self.mode, self.n, self.inner, None)
        if len(self.layer_param.top) < 2:
            return loss
        each = costs.detach()
        each = each.sum(1, keepdim=True) if each.dim() > 1 else each
        return loss, each.reshape(self.n, 1, *each.shape[2:], *[1] * (4 - max(each.dim(), 2)))
