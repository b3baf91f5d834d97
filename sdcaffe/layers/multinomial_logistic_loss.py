"""MultinomialLogisticLoss of probabilities. SoftmaxWithLoss takes scores and is steadier."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sdcaffe.layers.base import Shape, register
from sdcaffe.layers.loss import LOG_THRESHOLD, LossLayer, class_labels


class _NegativeLog(torch.autograd.Function):
    """Sum of -log p with p at least 1e-20. Caffe's gradient below the bound is -1e20, not autograd's 0."""

    @staticmethod
    def forward(ctx: Any, probability: Tensor) -> Tensor:
        bounded = probability.clamp(min=LOG_THRESHOLD)
        ctx.save_for_backward(bounded)
        return -bounded.log().sum()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (bounded,) = ctx.saved_tensors
        return -grad / bounded


@register("MultinomialLogisticLoss")
class MultinomialLogisticLoss(LossLayer):
    """-sum log p[label] / n for probabilities (n, classes) and one label an item."""

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        self.check_one_label_each(bottom_shapes)
        return [()]

    def forward(self, probability: Tensor, label: Tensor) -> Tensor:
        probability = probability.reshape(len(probability), -1)
        labels = class_labels(self, label.reshape(-1, 1), probability.shape[1])
        total = _NegativeLog.apply(probability.gather(1, labels.index))
        return labels.mark(total / max(1, len(probability)))
