"""BatchNorm, without the affine part that Caffe leaves to Scale; `normalize` can take that along."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sdcaffe import processes, proto
from sdcaffe.layers.base import Layer, Shape, register
from sdcaffe.layers.shared_statistics import SharedStatistics


@register("BatchNorm", field="batch_norm_param")
class BatchNorm(Layer):
    """y = (x - mean) / sqrt(variance + eps) for each channel (axis 1; a 1-D bottom is one channel).

    Blobs, none of them learned: 0 the sum of means (c,), 1 the sum of variances (c,), 2 their weight (1,).
    Each pass over a batch multiplies all three by moving_average_fraction and adds the batch's mean, its
    unbiased variance (by m / (m - 1), m values a channel; the top is made with the biased one) and 1.
    With use_global_stats, by default in the test phase, sums / weight are used instead; weight 0 gives
    statistics of 0, as in a net that never trained.

    Raises LayerError for a param with an lr_mult other than 0: these blobs are not for the solver.
    """

    in_place = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        (bottom,) = bottom_shapes
        param = self.param
        if not bottom:
            raise self.error("the bottom needs at least one axis")
        self.one_channel = len(bottom) == 1
        channels = 1 if self.one_channel else bottom[1]
        for i, spec in enumerate(self.layer_param.param[:3]):
            if spec.lr_mult != 0:
                raise self.error(
                    f"param {i} has lr_mult {spec.lr_mult:g}; batch statistics are not learned, set it to 0", "param"
                )
        for _ in range(len(self.layer_param.param), 3):
            self.layer_param.param.add(lr_mult=0)  # as Caffe, so that saved nets say it
        given = param.HasField("use_global_stats")
        self.use_global_stats: bool = param.use_global_stats if given else self.phase == proto.TEST
        self.fraction: float = param.moving_average_fraction
        self.eps: float = param.eps
        for i, size in enumerate((channels, channels, 1)):
            self.blob(i, (size,), learnable=False)
        return [bottom]

    def forward(self, bottom: Tensor) -> Tensor:
        return self.normalize(bottom)

    def normalize(self, bottom: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        """The top times `weight` plus `bias`, both (c,), in one pass over the bottom; updates the blobs."""
        if self.one_channel:
            return self._normalize_channels(bottom.unsqueeze(1), weight, bias).squeeze(1)
        return self._normalize_channels(bottom, weight, bias)

    def affine(self, weight: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(a, b), both (c,), so that a * bottom + b is what `normalize` gives with the stored statistics."""
        mean, variance = self._stored()
        factor = weight * variance.add_(self.eps).rsqrt_()
        return factor, -mean * factor if bias is None else torch.addcmul(bias, mean, factor, value=-1)

    def _stored(self) -> tuple[Tensor, Tensor]:
        """The mean and variance that the blobs hold."""
        mean, variance, weight = self.blobs
        per_weight = weight.reciprocal().nan_to_num_(nan=math.nan, posinf=0.0, neginf=0.0)
        return mean * per_weight, variance * per_weight

    def _normalize_channels(self, bottom: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        """`normalize` for a bottom (n, c, ...)."""
        if self.use_global_stats:
            return F.batch_norm(bottom, *self._stored(), weight, bias, eps=self.eps)
        blobs, channels = list(self.blobs), bottom.shape[1]
        # What this batch adds to the blobs. It starts at 1, not 0, only for the last value to be the weight's 1.
        batch = blobs[0].new_ones(2 * channels + 1)
        mean, variance, one = batch[:channels], batch[channels:-1], batch[-1:]
        top = normalize_batch(bottom, mean, variance, weight, bias, self.eps)
        torch._foreach_mul_(blobs, self.fraction)
        torch._foreach_add_(blobs, [mean, variance, one])
        return top


def normalize_batch(
    bottom: Tensor, mean: Tensor, variance: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """A bottom (n, c, ...) by its own statistics, times `weight` plus `bias`, both (c,).

    Writes each channel's mean and unbiased variance into `mean` and `variance`; those of one value have variance 0.
    Where processes share their statistics, all of this is over the batches of all of them.
    """
    if processes.sharing_statistics() > 1:
        shared: Tensor = SharedStatistics.apply(bottom, weight, bias, mean, variance, eps)
        return shared
    if bottom.numel() == bottom.shape[1]:
        return _one_value(bottom, mean, variance, weight, bias)
    exact = bottom.dtype != torch.bfloat16  # what that rounds away, sums need not keep
    if exact and bottom.is_cpu and bottom.dim() == 4 and bottom.is_contiguous(memory_format=torch.channels_last):
        top: Tensor = _GroupedStatistics.apply(bottom, weight, bias, mean, variance, eps)
        return top
    # with momentum 1 torch leaves the batch's own mean and unbiased variance there
    return F.batch_norm(bottom, mean, variance, weight, bias, training=True, momentum=1.0, eps=eps)


def batch_statistics(bottom: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance (c,) of the channels of a channels_last bottom (n, c, h, w), in float32 at least."""
    if bottom.is_cpu and bottom.dtype == torch.float32:
        return _grouped_statistics(bottom)
    exact = bottom.float() if bottom.dtype == torch.bfloat16 else bottom
    variance, mean = torch.var_mean(exact, (0, 2, 3), correction=0)
    return mean, variance


_WIDTH = 4096  # values in a row of the regrouped bottom, at most


def _grouped_statistics(bottom: Tensor) -> tuple[Tensor, Tensor]:
    """The same on a CPU.

    torch adds up the values of a channel one after the other there, in float32: over 10^5 values that costs
    two digits. Here neighbouring pixels count as channels of their own, each adds up few values, and their
    statistics are then merged.
    """
    channels = bottom.shape[1]
    values, groups = bottom.numel() // channels, 1
    while values % (2 * groups) == 0 and 2 * groups * channels <= _WIDTH:
        groups *= 2
    rows = bottom.permute(0, 2, 3, 1).reshape(-1, groups * channels)
    means, variances = (t.view(groups, channels) for t in torch.batch_norm_update_stats(rows, None, None, 1.0))
    mean = means.mean(0)
    return mean, variances.mean(0) + (means - mean).square_().mean(0)


class _GroupedStatistics(torch.autograd.Function):
    """Batch norm of a channels_last bottom on a CPU, its statistics as exact as Caffe's.

    As many passes over the data as torch's, and the gradient is torch's own.
    """

    @staticmethod
    def forward(
        ctx: Any, bottom: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, variance: Tensor, eps: float
    ) -> Tensor:
        """Fills `mean` and `variance` (unbiased), both (c,)."""
        values = bottom.numel() // bottom.shape[1]
        batch_mean, biased = _grouped_statistics(bottom)
        mean.copy_(batch_mean)
        torch.mul(biased, values / (values - 1), out=variance)
        ctx.save_for_backward(bottom, weight, batch_mean, (biased + eps).rsqrt_())
        ctx.eps, ctx.affine = eps, (weight is not None, bias is not None)
        return torch.native_batch_norm(bottom, weight, bias, mean, biased, False, 0.0, eps)[0]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        bottom, weight, mean, scale = ctx.saved_tensors
        wanted = [bool(need) and has for need, has in zip(ctx.needs_input_grad, (True, *ctx.affine), strict=False)]
        grads = torch.ops.aten.native_batch_norm_backward(
            grad, bottom, weight, None, None, mean, scale, True, ctx.eps, wanted
        )
        return (*(g if want else None for g, want in zip(grads, wanted, strict=True)), None, None, None)


def _one_value(bottom: Tensor, mean: Tensor, variance: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """A batch of one value a channel, which torch refuses: its mean is itself, its variance 0, its top 0."""
    mean.copy_(bottom.detach().flatten())
    variance.zero_()
    shape = (-1, *[1] * (bottom.dim() - 2))
    top = bottom - bottom
    top = top if weight is None else top * weight.reshape(shape)
    return top if bias is None else top + bias.reshape(shape)
