"""SigmoidCrossEntropyLoss: independent yes/no targets, each with the cross entropy of its own sigmoid."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional

from sdcaffe import proto
from sdcaffe.layers.base import Shape, register, show_shape
from sdcaffe.layers.loss import LossLayer, ignored_label, normalization, normalized


@register("SigmoidCrossEntropyLoss", field="loss_param")
class SigmoidCrossEntropyLoss(LossLayer):
    """Sum of -t log s(x) - (1 - t) log(1 - s(x)) over all values, normalised; targets t in [0, 1].

    Unlike SoftmaxWithLoss it divides by the batch size where the prototxt says nothing. Targets equal to
    `ignore_label`, once cut to whole numbers, cost nothing.
    """

    param: proto.LossParameter

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        self.check_same_number(bottom_shapes)
        scores, target = bottom_shapes
        if math.prod(scores) != math.prod(target):
            raise self.error(f"scores {show_shape(scores)} and targets {show_shape(target)} must have the same count")
        self.ignore = ignored_label(self.param)
        self.mode = normalization(self.param, self.param.BATCH_SIZE)
        return [()]

    def forward(self, scores: Tensor, target: Tensor) -> Tensor:
        target = target.detach().reshape(scores.shape).to(scores.dtype)
        losses = functional.binary_cross_entropy_with_logits(scores, target, reduction="none")
        kept = None
        if self.ignore is not None:
            kept = target.trunc() != self.ignore
            losses = losses.masked_fill(~kept, 0)
        n = scores.shape[0]
        return normalized(losses.sum(), self.param, self.mode, n, math.prod(scores.shape[1:]), kept)
