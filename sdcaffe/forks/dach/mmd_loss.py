"""CAFFE-DACH's MMDLoss: how far apart two domains' features lie, by random pairs and several Gaussian kernels."""

from __future__ import annotations

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.forks.transfer.mmd_loss import kernel
from sdcaffe.layers.base import Layer, Shape, register, show_shape


class MMDLossParameter:
    kernel_numb: int = 5
    kernel_mult: float = 2.0
    absfix_flag: bool = False
    loss_weight: float = 1.0


proto.schema.declare("mmd_loss_param", 156, MMDLossParameter)


def is_dachs(layer_param: proto.LayerParameter) -> bool:
    """Whether a layer is CAFFE-DACH's: it has its parameters."""
    return bool(layer_param.HasField("mmd_loss_param"))


class RandomPairs(Layer):
    """What CAFFE-DACH's losses between rows of two domains share: kernels, rows that are drawn, value and gradient."""

    loss = True
    yields = True

    def check(self) -> None:
        """Raise LayerError for kernels that there cannot be."""
        if self.param.kernel_numb < 1 or not self.param.kernel_mult > 0:
            raise self.error("kernel_numb must be at least 1, and kernel_mult above 0", "kernel_numb")

    def discrepancies(self, source: Tensor, target: Tensor) -> Tensor:
        """K(s1, s2) - K(s2, t1) + K(t1, t2) - K(t2, s1) of random rows, as many as the larger domain has."""
        shared = min(source.shape[1], target.shape[1])
        rows = torch.cat([source[:, :shared], target[:, :shared]]).detach()
        n = len(rows)
        distances = 2 * n * (rows - rows.mean(0)).square().sum()  # of all pairs, each twice
        gamma = torch.where(distances > 0, n * (n - 1) / distances, 0)
        powers = torch.arange(self.param.kernel_numb, device=rows.device) - self.param.kernel_numb // 2
        gammas = gamma * self.param.kernel_mult**powers
        (s1, s2), (t1, t2) = (self._drawn(domain, max(len(source), len(target))) for domain in (source, target))
        within = kernel(s1, s2, gammas) + kernel(t1, t2, gammas)
        return within - kernel(s2[:, :shared], t1[:, :shared], gammas) - kernel(t2[:, :shared], s1[:, :shared], gammas)

    def _drawn(self, rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Pairs of different rows, of the same where there is one alone."""
        first, second = torch.randint(len(rows), (2, count), device=rows.device)
        return rows[first], rows[torch.where(first == second, (second + 1) % len(rows), second)]


@register("MMDLoss", field="mmd_loss_param", when=is_dachs)
class DachMMDLoss(RandomPairs):
    """Maximum mean discrepancy of features (n, ...) and (m, ...), where mmd_loss_param is given.

    As in CAFFE-DACH (JiahaoLi-gdut/CAFFE-DACH@388c826), whose numbers are random: max(n, m) times two different rows of
    each domain are drawn, and K(s1, s2) - K(s2, t1) + K(t1, t2) - K(t2, s1) summed. K is the sum of kernel_numb kernels
    exp(-g d^2), g being gamma times kernel_mult^(k - kernel_numb / 2); gamma is the number of pairs over the sum of
    their squared distances, a constant to the gradient; 0 where all rows are equal. The gradient is that of the mean.
    Of features of different sizes, as many numbers as the smaller has are compared. absfix_flag takes a gamma below 0,
    of sums that overflow, for 0; here none does. loss_weight stands in files older than the published source, and
    multiplies the gradient: there that of the layer, held by a variable of the same name, does.
    """

    param: proto.MMDLossParameter
    origin = "CAFFE-DACH (JiahaoLi-gdut/CAFFE-DACH)"
    bottoms = 2

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        if any(len(shape) < 1 or 0 in shape for shape in bottom_shapes):
            raise self.error(f"needs features of both domains: {', '.join(map(show_shape, bottom_shapes))}")
        self.check()
        return [()]

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        found = self.discrepancies(source.reshape(len(source), -1), target.reshape(len(target), -1))
        trained = found.mean() * self.param.loss_weight
        return trained + (found.sum() - trained).detach()
