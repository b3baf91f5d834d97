"""thuml's MMDLoss: how far apart two domains' features lie, by random pairs and several Gaussian kernels."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import Count, Layer, Shape, register, show_shape


class MMDParameter:
    kernel_num: int = 5
    kernel_mul: float = 2.0
    fix_gamma: bool = False


def is_thumls(layer_param: proto.LayerParameter) -> bool:
    """Whether a layer is thuml's: it has its parameters."""
    return bool(layer_param.HasField("mmd_param"))


proto.schema.declare("mmd_param", 1347, MMDParameter)  # theirs, 147, is BVLC Caffe's swish_param


class _Discrepancy(torch.autograd.Function):
    """The sum over some quadruples forward, the gradient of the mean over others backward."""

    @staticmethod
    def forward(ctx: Any, source: Tensor, target: Tensor, layer: ThumlMMDLoss) -> Tensor:
        gammas = layer.gammas(source, target)
        shown, trained = layer.quadruples(source, target), layer.quadruples(source, target)
        ctx.save_for_backward(source, target, gammas, *trained)
        parts = (sign * kernel(a, b, gammas).sum() for a, b, sign in _pairs(source, target, shown))
        return sum(parts, source.new_zeros(()))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        source, target, gammas, *trained = ctx.saved_tensors
        if len(source) < 2 or len(target) < 2:
            return torch.zeros_like(source), torch.zeros_like(target), None
        with torch.enable_grad():
            source, target = source.detach().requires_grad_(), target.detach().requires_grad_()
            parts = (sign * kernel(a, b, gammas).mean() for a, b, sign in _pairs(source, target, trained))
            slopes = torch.autograd.grad(sum(parts, source.new_zeros(())), (source, target))
        return grad * slopes[0], grad * slopes[1], None


def kernel(some: Tensor, others: Tensor, gammas: Tensor) -> Tensor:
    """The sum of the kernels exp(-gamma d^2) of each pair of rows: (m,)."""
    squares = (some - others).square().sum(1)
    return torch.exp(-squares[:, None] * gammas).sum(1)


def _pairs(source: Tensor, target: Tensor, picked: Any) -> list[tuple[Tensor, Tensor, int]]:
    """The four pairs of quadruples s1, s2, t1, t2, and how they count."""
    s1, s2, t1, t2 = picked
    return [
        (source[s1], source[s2], 1),
        (target[t1], target[t2], 1),
        (source[s1], target[t2], -1),
        (target[t1], source[s2], -1),
    ]


class DomainLoss(Layer):
    """What thuml's losses of two domains share: the widths of the kernels, and the rows that are drawn."""

    bottoms: ClassVar[Count] = 2
    loss = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        source, target = bottom_shapes
        if len(source) < 1 or len(target) < 1 or source[1:] != target[1:] or 0 in (source[0], target[0]):
            raise self.error(f"features must have one shape but n: {show_shape(source)} and {show_shape(target)}")
        if self.param.kernel_num < 1 or not self.param.kernel_mul > 0:
            raise self.error("kernel_num must be at least 1, and kernel_mul above 0", "kernel_num")
        self.gamma: Tensor | None = None
        return [()]

    def gammas(self, source: Tensor, target: Tensor) -> Tensor:
        """The factor of each kernel, (kernel_num,)."""
        param = self.param
        gamma = self.gamma if param.fix_gamma else None
        if gamma is None:
            rows = torch.cat([source, target])
            n = len(rows)
            # The sum of all squared distances is 2 n times the sum of squared distances from the mean.
            distances = 2 * n * (rows - rows.mean(0)).square().sum()
            gamma = self.gamma = torch.where(distances > 0, (n * n - n) / distances, 0)
        powers = torch.arange(param.kernel_num, device=source.device) - param.kernel_num // 2
        return gamma * param.kernel_mul**powers

    def quadruples(self, source: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        """Rows s1, s2 of the source and t1, t2 of the target, as many as the larger domain has rows."""
        count = max(len(source), len(target))
        found = []
        for n in (len(source), len(target)):
            first, second = torch.randint(n, (2, count), device=source.device)
            found += [first, torch.where(first == second, (second + 1) % n, second)]
        return tuple(found)


@register("MMDLoss", field="mmd_param", when=is_thumls)
class ThumlMMDLoss(DomainLoss):
    """Maximum mean discrepancy of features (n, ...) and (m, ...) of two domains, where mmd_param is given.

    As in Xlearn (thuml/Xlearn@e72b2be) and transfer-caffe, whose numbers are random: max(n, m) quadruples of two
    different rows of each domain are drawn, and K(s1, s2) + K(t1, t2) - K(s1, t2) - K(s2, t1) summed. K is the sum of
    kernel_num kernels exp(-g d^2), g being gamma times kernel_mul^(k - kernel_num / 2); gamma is the number of pairs
    over the sum of their squared distances, a constant to the gradient, and with fix_gamma the first batch's of a run.
    The gradient is that of the mean over quadruples of their own; it is 0 where a domain has one row.
    """

    param: proto.MMDParameter
    origin = "thuml's Xlearn and transfer-caffe"

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        loss: Tensor = _Discrepancy.apply(source.flatten(1), target.flatten(1), self)
        return loss
