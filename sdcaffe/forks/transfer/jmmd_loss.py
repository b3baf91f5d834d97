"""thuml's JMMDLoss: how far apart two domains' features and predictions lie together."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.forks.transfer.mmd_loss import DomainLoss
from sdcaffe.layers.base import Shape, register, show_shape


class JMMDParameter:
    kernel_num: int = 5
    sigma: float = 0.0
    label_kernel_mul: Annotated[float, 4] = 2.0
    label_kernel_num: int = 5
    kernel_mul: float = 2.0
    fix_gamma: bool = False
    auto_sigma: bool = False


class _JointDiscrepancy(torch.autograd.Function):
    """0 forward, as the fork prints; backward the gradient of the mean over random quadruples."""

    @staticmethod
    def forward(ctx: Any, *bottoms: Any) -> Tensor:
        *values, layer = bottoms
        source, target, source_label, target_label = values
        gammas, sigma = layer.gammas(source, target), layer.sigma(source_label, target_label)
        ctx.save_for_backward(*values, gammas, sigma, *layer.quadruples(source, target))
        ctx.layer = layer
        return source.new_zeros(())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        *values, gammas, sigma, s1, s2, t1, t2 = ctx.saved_tensors
        slopes = [torch.zeros_like(value) for value in values]
        if min(len(values[0]), len(values[1])) < 2:
            return (*slopes, None)
        for (a, i), (b, j), sign in (
            ((0, s1), (0, s2), 1), ((1, t1), (1, t2), 1), ((0, s1), (1, t2), -1), ((1, t1), (0, s2), -1),
        ):  # fmt: skip
            moved, turned = values[a][i] - values[b][j], values[a + 2][i] - values[b + 2][j]
            kernels = torch.exp(-moved.square().sum(1, keepdim=True) * gammas)
            alike = ctx.layer.label_kernel(turned, sigma)
            of_features = -2 * sign * (kernels * gammas).sum(1, keepdim=True) * alike * moved
            of_labels = -2 * sign * kernels.sum(1, keepdim=True) * alike / sigma * turned
            for first, slope in ((0, of_features), (2, of_labels)):
                slopes[first + a].index_add_(0, i, slope)
                slopes[first + b].index_add_(0, j, -slope)
        return (*(grad * slope / len(s1) for slope in slopes), None)


@register("JMMDLoss", field="jmmd_param", number=1350)
class JMMDLoss(DomainLoss):
    """Joint maximum mean discrepancy of two domains' features (n, ...), (m, ...) and predictions, in this order.

    As in Xlearn (thuml/Xlearn@e72b2be). As thuml's MMDLoss, each kernel times one of the predictions: the sum of
    label_kernel_num kernels exp(-d^2 / s), s being sigma times label_kernel_mul^(k - label_kernel_num / 2); with
    auto_sigma sigma is the mean squared distance of random pairs. As in the fork the value is 0, and the predictions'
    gradient takes sigma for every s.
    """

    param: proto.JMMDParameter

    Param = JMMDParameter
    bottoms = 4
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        super().setup(bottom_shapes[:2])
        source, target = bottom_shapes[2:]
        sizes = [shape[0] for shape in bottom_shapes[:2]]
        if [source[0], target[0]] != sizes or source[1:] != target[1:]:
            raise self.error(f"predictions must have the features' n: {show_shape(source)} and {show_shape(target)}")
        if not self.param.auto_sigma and not self.param.sigma > 0:
            raise self.error("needs a sigma above 0, or auto_sigma", "sigma")
        if self.param.label_kernel_num < 1 or not self.param.label_kernel_mul > 0:
            raise self.error("label_kernel_num must be at least 1, and label_kernel_mul above 0", "label_kernel_num")
        return [()]

    def sigma(self, source: Tensor, target: Tensor) -> Tensor:
        """The width of the predictions' kernels."""
        if not self.param.auto_sigma:
            return source.new_tensor(self.param.sigma)
        rows = torch.cat([source, target])
        first, second = torch.randint(len(rows), (2, len(rows)), device=rows.device)
        second = torch.where(first == second, (second + 1) % len(rows), second)
        return (rows[first] - rows[second]).square().sum(1).mean()

    def label_kernel(self, turned: Tensor, sigma: Tensor) -> Tensor:
        """The kernels of differences (m, d), (m, 1)."""
        powers = torch.arange(self.param.label_kernel_num, device=turned.device) - self.param.label_kernel_num // 2
        widths = sigma * self.param.label_kernel_mul**powers
        return torch.exp(-turned.square().sum(1, keepdim=True) / widths).sum(1, keepdim=True)

    def forward(self, *bottoms: Tensor) -> Tensor:
        loss: Tensor = _JointDiscrepancy.apply(*(bottom.flatten(1) for bottom in bottoms), self)
        return loss
