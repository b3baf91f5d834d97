"""KLLoss: two branches teach each other their softened predictions, or one the other. It knows no labels."""

from __future__ import annotations

import enum
from typing import Any

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import Layer, Shape, register, show_shape


class Gradient(enum.IntEnum):
    """What branch a receives, p = softmax(z / T); branch b receives the negative.

    PRINTED: (pa - pb) / n, the paper's formula with the 1/n of its Eq. 3.
    EXACT: (pa - pb) / (n T), the derivative of Eq. 3 with the target held constant.
    HINTON: T (pa - pb) / n, the same of a loss multiplied by T^2 (Hinton et al., 2015).
    """

    PRINTED = 0
    EXACT = 1
    HINTON = 2


class TaughtDivergence(torch.autograd.Function):
    """`value * D(pb||pa)` of logits (n, K), and `slope * (pa - pb)` as the gradient of a; b gets none."""

    @staticmethod
    def forward(ctx: Any, logits_a: Tensor, logits_b: Tensor, temperature: float, value: float, slope: float) -> Tensor:
        log_a = (logits_a / temperature).log_softmax(1)
        log_b = (logits_b / temperature).log_softmax(1)
        target = log_b.exp()
        ctx.save_for_backward(log_a.exp() - target)
        ctx.slope = slope
        return (target * (log_b - log_a)).sum() * (value / logits_a.shape[0])

    @staticmethod
    def backward(ctx: Any, top_gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        (difference,) = ctx.saved_tensors
        return difference * (ctx.slope * top_gradient), None, None, None, None


class SoftenedDivergence(torch.autograd.Function):
    """`value * (D(pb||pa) + D(pa||pb))` of logits (n, K), and `slope * (pa - pb)` as the gradient of a.

    Autograd cannot give this gradient: in each divergence the target is a constant, in their sum no
    branch is.
    """

    @staticmethod
    def forward(ctx: Any, logits_a: Tensor, logits_b: Tensor, temperature: float, value: float, slope: float) -> Tensor:
        log_a = (logits_a / temperature).log_softmax(1)
        log_b = (logits_b / temperature).log_softmax(1)
        difference = log_a.exp() - log_b.exp()
        ctx.save_for_backward(difference)
        ctx.slope = slope
        # sum_k pb (log pb - log pa) + pa (log pa - log pb), both divergences at once
        return (difference * (log_a - log_b)).sum() * (value / logits_a.shape[0])

    @staticmethod
    def backward(ctx: Any, top_gradient: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        (difference,) = ctx.saved_tensors
        gradient = difference * (ctx.slope * top_gradient)
        return gradient, -gradient, None, None, None


def divergence(
    logits_a: Tensor, logits_b: Tensor, temperature: float, gradient: Gradient, *, one_sided: bool = False
) -> Tensor:
    """The loss of logits (n, K), a scalar, with the gradient of a convention; `one_sided`: b is a teacher."""
    value = temperature**2 if gradient == Gradient.HINTON else 1.0
    slope = {Gradient.PRINTED: 1.0, Gradient.EXACT: 1 / temperature, Gradient.HINTON: temperature}[gradient]
    function = TaughtDivergence if one_sided else SoftenedDivergence
    loss: Tensor = function.apply(logits_a, logits_b, temperature, value, slope / logits_a.shape[0])
    return loss


@register("KLLoss", field="kl_loss_param", number=1003)
class KLLoss(Layer):
    """Eq. 3 both ways, D(pb||pa) + D(pa||pb), averaged over samples; p = softmax(logits / temperature).

    Two bottoms of logits (N, K) or (N, K, 1, 1), the branches a and b; the top is a scalar.
    `gradient` chooses among the conventions of `Gradient`; only HINTON changes the loss value too.
    With `one_sided` branch b is a teacher: the loss is D(pb||pa) alone, and no gradient goes to b.
    """

    param: proto.KlLossParameter
    bottoms = 2
    loss = True
    knobs = {"lambda": "loss_weight", "temperature": "kl_loss_param.temperature"}

    class Param:
        temperature: float = 3.0
        gradient: Gradient = Gradient.PRINTED
        one_sided: bool = False

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        first, second = bottom_shapes
        if first != second or len(first) < 2 or any(n != 1 for n in first[2:]):
            raise self.error(
                f"both branches must have logits of the same shape (N, K) or (N, K, 1, 1), "
                f"but the bottoms are {show_shape(first)} and {show_shape(second)}"
            )
        temperature = self.param.temperature
        if not 0 < temperature < float("inf"):
            raise self.error(f"temperature must be a positive number, not {temperature:g}", "temperature")
        return [()]

    def forward(self, logits_a: Tensor, logits_b: Tensor) -> Tensor:
        return divergence(
            logits_a.flatten(1),
            logits_b.flatten(1),
            self.param.temperature,
            Gradient(self.param.gradient),
            one_sided=self.param.one_sided,
        )
