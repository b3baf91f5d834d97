"""EntropyLoss: the entropy of predictions without labels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import Shape, register, show_shape
from sdcaffe.layers.loss import LossLayer

_LEAST = 0.00001  # probabilities below count as 0 in the value


class EntropyParameter:
    threshold: float = 0.001
    ignore_label: int = 999
    iterations_num: int = 0


class _Entropy(torch.autograd.Function):
    """The value that the fork prints, and the slope that it trains by."""

    @staticmethod
    def forward(ctx: Any, prob: Tensor, threshold: float, gate: Tensor, layer: EntropyLoss) -> Tensor:
        ctx.save_for_backward(prob, gate.clone())
        ctx.threshold, ctx.layer = threshold, layer
        terms = torch.where(prob >= _LEAST, prob * prob.log(), 0).abs().sum()
        return -terms * gate.to(prob.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        prob, gate = ctx.saved_tensors
        slope = torch.where(prob >= ctx.threshold, -(1 + prob.log()), 0)
        ctx.layer.count_backward()
        return grad * slope * (gate.to(prob.dtype) / max(1, prob.shape[0])), None, None, None


@register("EntropyLoss", field="entropy_param", number=1348)
class EntropyLoss(LossLayer):
    """Of probabilities p (n, ...): the value -sum |p log p|, below 0 as the fork prints it, and a loss by its slope.

    As in Xlearn (thuml/Xlearn@e72b2be). The gradient is -(1 + log p) / n where p is `threshold` or more, else 0: that
    of the mean entropy. For the first iterations_num backward passes, or iterations of a solver, both are 0. The second
    bottom, labels, counts in nothing but its n, which must be the first one's; ignore_label changes nothing.
    """

    param: proto.EntropyParameter
    Param = EntropyParameter
    yields = True

    gate: Tensor

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        prob, label = bottom_shapes
        if not prob or not label or prob[0] != label[0]:
            raise self.error(f"bottoms must have one n: {show_shape(prob)} and {show_shape(label)}", "bottom")
        if "gate" not in self._buffers:
            self.done = 0
            self.register_buffer("gate", torch.tensor(float(self.param.iterations_num == 0)), persistent=False)
        return [()]

    def begin(self, iteration: int) -> None:
        self.done = iteration
        self.gate.fill_(float(self.done >= self.param.iterations_num))

    def count_backward(self) -> None:
        """One more backward pass was made."""
        self.begin(self.done + 1)

    def forward(self, prob: Tensor, label: Tensor) -> Tensor:
        loss: Tensor = _Entropy.apply(prob, self.param.threshold, self.gate, self)
        return loss
