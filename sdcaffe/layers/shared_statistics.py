"""Batch norm by the statistics of the batches of all processes that train together. A layer's blobs are not its job."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sdcaffe.collectives import summed


class SharedStatistics(torch.autograd.Function):
    """A bottom (n, c, ...) normalised by the mean and the biased variance of all processes' values of a channel.

    Each process sums what is its own; one vector of 2c + 1 numbers a pass is added up over the processes, forward, and
    one of 2c backward (Ioffe and Szegedy 2015, section 3, with the sums over the global batch). The gradients of
    `weight` and `bias` are this process's, for the processes to average like any other.
    """

    @staticmethod
    def forward(
        ctx: Any, bottom: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, variance: Tensor, eps: float
    ) -> Tensor:
        """Fills `mean` and `variance` (unbiased), both (c,)."""
        axes = [0, *range(2, bottom.dim())]
        own = bottom.numel() // bottom.shape[1]
        own_variance, own_mean = torch.var_mean(bottom.float(), axes, correction=0)
        first = own_mean.double()  # squares of the means and the like cancel: float32 would lose the variance
        sums = torch.cat([first, own_variance.double() + first.square(), first.new_ones(1)])
        sums = summed(sums * own)
        channels, values = bottom.shape[1], sums[-1]
        average = sums[:channels] / values
        biased = (sums[channels:-1] / values - average.square()).clamp_(min=0)
        mean.copy_(average)
        variance.copy_(biased * (values / (values - 1).clamp(min=1)))
        scale = (biased + eps).rsqrt_().to(mean.dtype)
        ctx.save_for_backward(bottom, weight, mean.clone(), scale, values.to(mean.dtype))
        ctx.axes, ctx.has_bias = axes, bias is not None
        return torch.native_batch_norm(bottom, weight, bias, mean, biased.to(mean.dtype), False, 0.0, eps)[0]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        bottom, weight, mean, scale, values = ctx.saved_tensors
        shape = (1, -1, *[1] * (bottom.dim() - 2))
        normalised = (bottom - mean.view(shape)) * scale.view(shape)
        of_bias = grad.sum(ctx.axes, dtype=mean.dtype)
        of_weight = (grad * normalised).sum(ctx.axes)
        means = summed(torch.cat([of_bias, of_weight])) / values
        of_mean, of_scale = (part.view(shape) for part in means.chunk(2))
        factor = scale if weight is None else scale * weight
        of_bottom = (grad - of_mean - normalised * of_scale) * factor.view(shape)
        return (
            of_bottom.to(bottom.dtype),
            None if weight is None else of_weight,
            of_bias if ctx.has_bias else None,
            None,
            None,
            None,
        )
