"""CtcLoss: connectionist temporal classification, for sequences of labels without their times."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sdcaffe import proto
from sdcaffe.errors import DataError
from sdcaffe.layers.base import Shape, register, show_shape
from sdcaffe.layers.loss import LossLayer


class CtcLossParameter:
    alphabet_size: int = 0
    time_step: Annotated[int, 3] = 0
    blank_label: int = 0


class _MeanOfSum(torch.autograd.Function):
    """The mean of some costs forward, with the gradient of their sum, as the fork has it."""

    @staticmethod
    def forward(ctx: Any, costs: Tensor) -> Tensor:
        ctx.count = len(costs)
        return costs.mean()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad.expand(ctx.count)


@register("CtcLoss", field="ctc_loss_param", number=157)
class CtcLoss(LossLayer):
    """The mean cost of scores (time, n, alphabet_size) for labels (n, length), of which blank_label ones do not count.

    As in DeepDetect's Caffe (jolibrain/caffe@23928c0), which uses warp-ctc: a softmax over the alphabet comes first. As
    there the gradient is that of the sum over n, not of the mean; labels that do not fit into time_step cost nothing.
    Raises DataError for a label that is not in the alphabet, and for a batch without any label.
    """

    param: proto.CtcLossParameter
    Param = CtcLossParameter
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        scores, label = bottom_shapes
        param = self.param
        if param.alphabet_size < 1 or param.time_step < 1:
            raise self.error("needs alphabet_size and time_step of at least 1", "ctc_loss_param")
        if not 0 <= param.blank_label < param.alphabet_size:
            raise self.error(f"blank_label {param.blank_label} is not in the alphabet", "blank_label")
        if len(scores) != 3 or scores[2] != param.alphabet_size or scores[0] < param.time_step:
            raise self.error(
                f"needs scores (time, n, {param.alphabet_size}) of {param.time_step} steps, not {show_shape(scores)}"
            )
        if len(label) < 2 or label[0] != scores[1]:
            raise self.error(f"needs labels ({scores[1]}, length), not {show_shape(label)}")
        return [()]

    def forward(self, scores: Tensor, label: Tensor) -> Tensor:
        param = self.param
        label = label.detach().long().reshape(label.shape[0], -1)
        if ((label < 0) | (label >= param.alphabet_size)).any():
            raise DataError(
                f'layer "{self.name}" ({self.type}): labels go from {int(label.min())} to {int(label.max())}, '
                f"but the alphabet from 0 to {param.alphabet_size - 1}"
            )
        counts = label != param.blank_label
        if not counts.any():
            raise DataError(f'layer "{self.name}" ({self.type}): all labels of the batch are blank')
        times = torch.full((scores.shape[1],), param.time_step)
        costs = F.ctc_loss(
            scores[: param.time_step].log_softmax(2),
            label[counts],
            times,
            counts.sum(1).cpu(),
            blank=param.blank_label,
            reduction="none",
            zero_infinity=True,
        )
        loss: Tensor = _MeanOfSum.apply(costs)
        return loss
