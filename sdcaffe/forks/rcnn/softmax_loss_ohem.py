"""SoftmaxWithLossOHEM: SoftmaxWithLoss that also says what each region costs, to find the hard ones."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import Shape, canonical_axis, register
from sdcaffe.layers.loss import (
    FLOAT32_MIN,
    LossLayer,
    check_label_count,
    class_labels,
    ignored_label,
    normalization,
    normalized,
    outer_inner,
)


@register("SoftmaxWithLossOHEM", field="loss_param")
class SoftmaxWithLossOHEM(LossLayer):
    """As SoftmaxWithLoss, with tops loss, probabilities and the loss of each label, of the labels' shape.

    As in R-FCN (microsoft/caffe@70f521f). With more than one top each must have its loss_weight written, as in the
    fork, and normalization PRE_FIXED is refused. No gradient comes back through the second and the third top.
    """

    param: proto.LossParameter
    tops = (1, 3)
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        self.check_same_number(bottom_shapes)
        scores, label = bottom_shapes
        tops = len(self.layer_param.top)
        if tops > 1 and len(self.layer_param.loss_weight) != tops:
            raise self.error(f"has {tops} tops, so it needs {tops} loss_weight, one for each", "loss_weight")
        self.axis = canonical_axis(self, self.layer_param.softmax_param.axis, len(scores))
        check_label_count(self, scores, label, self.axis)
        self.ignore = ignored_label(self.param)
        self.mode = normalization(self.param, self.param.VALID)
        known = (self.param.FULL, self.param.VALID, self.param.BATCH_SIZE, self.param.NONE)
        if self.mode not in known:
            name = proto.LossParameter.NormalizationMode.Name(self.mode)
            raise self.error(f"normalization {name} is not one that this type has", "normalization")
        return [(), scores, label][:tops]

    def forward(self, scores: Tensor, label: Tensor) -> Tensor | tuple[Tensor, ...]:
        shape = scores.shape
        places = label.reshape(*shape[: self.axis], 1, *shape[self.axis + 1 :])
        labels = class_labels(self, places, shape[self.axis], self.ignore)
        log_prob = torch.log_softmax(scores, self.axis)
        picked = log_prob.gather(self.axis, labels.index)
        costs = picked.detach().clamp(min=math.log(FLOAT32_MIN)) + (picked - picked.detach())
        costs = -costs if labels.kept is None else (-costs).masked_fill(~labels.kept, 0)
        loss = normalized(costs.sum(), self.param, self.mode, *outer_inner(shape, self.axis), labels.kept)
        tops = (labels.mark(loss), log_prob.detach().exp(), costs.detach().reshape(label.shape))
        return tops[0] if len(self.layer_param.top) == 1 else tops[: len(self.layer_param.top)]
