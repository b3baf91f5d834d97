"""HingeLoss: one-versus-all margins, L1 or L2."""

from __future__ import annotations

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import Shape, register
from sdcaffe.layers.loss import LossLayer, class_labels


@register("HingeLoss", field="hinge_loss_param")
class HingeLoss(LossLayer):
    """sum max(0, 1 + s x)^p / n over all classes, with s = -1 at the label and 1 elsewhere; p = 1 or 2 (`norm`)."""

    param: proto.HingeLossParameter

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        self.check_one_label_each(bottom_shapes)
        return [()]

    def forward(self, scores: Tensor, label: Tensor) -> Tensor:
        scores = scores.reshape(len(scores), -1)
        labels = class_labels(self, label.reshape(-1, 1), scores.shape[1])
        sign = torch.ones_like(scores).scatter_(1, labels.index, -1.0)
        margin = (1 + sign * scores).relu()
        if self.param.norm == self.param.L2:
            margin = margin.square()
        return labels.mark(margin.sum() / max(1, scores.shape[0]))
