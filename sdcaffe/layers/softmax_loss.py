"""SoftmaxWithLoss: the multinomial logistic loss of a softmax. Softmax alone is in softmax.py."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import Shape, canonical_axis, register
from sdcaffe.layers.loss import (
    FLOAT32_MIN,
    Labels,
    LossLayer,
    check_label_count,
    class_labels,
    ignored_label,
    normalization,
    normalized,
    outer_inner,
)
from sdcaffe.proto import TEST

_LOG_MIN = math.log(FLOAT32_MIN)


class _LogLikelihood(torch.autograd.Function):
    """Sum of the log probabilities of the labelled classes, each raised to log(FLT_MIN) = -87.3365, times `weight`.

    With `smoothing` that part of each label is shared by all classes. Caffe's backward (probability, minus one at the
    label) does not know of that bound: hence not autograd's.
    """

    @staticmethod
    def forward(
        ctx: Any,
        log_prob: Tensor,
        index: Tensor,
        kept: Tensor | None,
        weight: Tensor | None,
        axis: int,
        smoothing: float,
    ) -> Tensor:
        ctx.axis, ctx.smoothing = axis, smoothing
        ctx.save_for_backward(log_prob, index, kept, weight)
        picked = log_prob.gather(axis, index).clamp(min=_LOG_MIN)
        if smoothing:
            shared = log_prob.clamp(min=_LOG_MIN).mean(axis, keepdim=True)
            picked = (1 - smoothing) * picked + smoothing * shared
        if weight is not None:
            picked = picked * weight.to(picked.dtype)
        return (picked if kept is None else picked.masked_fill(~kept, 0)).sum()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        log_prob, index, kept, weight = ctx.saved_tensors
        value = grad.expand(index.shape) if kept is None else grad * kept
        if weight is not None:
            value = value * weight.to(value.dtype)
        if ctx.smoothing:
            shared = (value * (ctx.smoothing / log_prob.shape[ctx.axis])).expand_as(log_prob)
            gradient = shared.scatter_add(ctx.axis, index, (1 - ctx.smoothing) * value)
        else:
            gradient = torch.zeros_like(log_prob).scatter_(ctx.axis, index, value)
        return gradient, None, None, None, None, None


@register("SoftmaxWithLoss", field="loss_param")
class SoftmaxWithLoss(LossLayer):
    """Loss of scores (outer, classes, inner) for labels, one for each of outer * inner, in any shape.

    The class axis is `softmax_param.axis`. Probabilities below FLT_MIN count as FLT_MIN, so one item costs
    at most 87.3365. In the test phase scores that are not numbers cost the same, as on Caffe's GPUs: the
    first test of a deep net with fresh BatchNorms overflows. With `label_smoothing` s a label is 1 - s + s / K at its
    class and s / K at the K - 1 others (Szegedy et al., 2016). A second top is the probabilities; no gradient
    comes back through it.
    """

    param: proto.LossParameter
    tops = (1, 2)

    @classmethod
    def deployed(cls, layer_param: proto.LayerParameter) -> proto.LayerParameter | None:
        """The probabilities, where the net gives them."""
        if len(layer_param.top) < 2:
            return None
        new = proto.LayerParameter(
            name=layer_param.name, type="Softmax", bottom=[layer_param.bottom[0]], top=[layer_param.top[1]]
        )
        new.softmax_param.CopyFrom(layer_param.softmax_param)
        return new

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        self.check_same_number(bottom_shapes)
        scores, label = bottom_shapes
        self.axis = canonical_axis(self, self.layer_param.softmax_param.axis, len(scores))
        check_label_count(self, scores, label, self.axis)
        self.ignore = ignored_label(self.param)
        self.mode = normalization(self.param, self.param.VALID)
        self.smoothing = self.param.label_smoothing
        if not 0 <= self.smoothing < 1:
            raise self.error(f"label_smoothing must lie in [0, 1), not {self.smoothing:g}", "label_smoothing")
        return [(), scores][: max(1, len(self.layer_param.top))]

    def forward(self, scores: Tensor, label: Tensor) -> Tensor | tuple[Tensor, ...]:
        shape = scores.shape
        label = label.reshape(*shape[: self.axis], 1, *shape[self.axis + 1 :])
        labels = class_labels(self, label, shape[self.axis], self.ignore)
        log_prob = torch.log_softmax(scores, self.axis)
        if self.phase == TEST:
            log_prob = log_prob.nan_to_num(_LOG_MIN)
        weight = self.weights(labels, shape[self.axis])
        total = 0 - _LogLikelihood.apply(log_prob, labels.index, labels.kept, weight, self.axis, self.smoothing)
        loss = normalized(total, self.param, self.mode, *outer_inner(shape, self.axis), labels.kept)
        loss = labels.mark(loss)
        return loss if len(self.layer_param.top) < 2 else (loss, log_prob.detach().exp())

    def weights(self, labels: Labels, classes: int) -> Tensor | None:
        """What each label's loss is multiplied by before the sum, in the shape of the labels; None: 1."""
        return None
