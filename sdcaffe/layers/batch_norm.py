"""BatchNorm, without the affine part that Caffe leaves to Scale; `normalize` can take that along."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from sdcaffe import collectives, proto
from sdcaffe.layers.base import Affine, Layer, OnnxBuilder, Shape, Source, SourceBuilder, call, number, register
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

    param: proto.BatchNormParameter
    in_place = True
    keeps_places = True
    normalizes = True

    torch_names: ClassVar[tuple[tuple[str, ...], ...]] = (("running_mean", "running_var", "num_batches_tracked"),)

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
        if self.eps < 0 or (self.eps == 0 and not self.use_global_stats):
            raise self.error(f"eps is {self.eps:g}; it must be above 0", "eps")
        for i, size in enumerate((channels, channels, 1)):
            self.blob(i, (size,), learnable=False)
        return [bottom]

    def forward(self, bottom: Tensor) -> Tensor:
        return self.normalize(bottom)

    def normalize(
        self, bottom: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, rectify: bool = False
    ) -> Tensor:
        """The top times `weight` plus `bias`, both (c,), in one pass over the bottom; updates the blobs.

        With `rectify`, as `normalize_batch` has it.
        """
        if self.one_channel:
            return self._normalize_channels(bottom.unsqueeze(1), weight, bias, rectify).squeeze(1)
        return self._normalize_channels(bottom, weight, bias, rectify)

    def to_onnx(self, builder: OnnxBuilder, *bottoms: Tensor) -> Tensor:
        x = bottoms[0].unsqueeze(1) if self.one_channel else bottoms[0]
        if self.use_global_stats:
            mean, variance = builder.blobs
            top = F.batch_norm(x, mean, variance, *builder.scale, eps=self.eps)
        else:
            top = traced_norm(x, self.eps)[0]
        return top.squeeze(1) if self.one_channel else top

    def onnx_blobs(self) -> list[Tensor]:
        """The stored mean and variance."""
        if not self.use_global_stats:
            return []
        return [values.float() for values in stored_statistics(blob.detach().double() for blob in self.blobs)]

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        dims = len(bottoms[0])
        if not self.use_global_stats:
            raise self.unwritten("a BatchNorm that uses the batch's own statistics in the test phase")
        if not 2 <= dims <= 5:
            raise self.unwritten(f"a BatchNorm of {dims} axes")
        momentum = round(1 - float(number(self.fraction)), 9)
        module = call(
            f"nn.BatchNorm{max(1, dims - 2)}d",
            str(bottoms[0][1]),
            eps=number(self.eps) if float(number(self.eps)) != 1e-5 else None,  # torch's defaults
            momentum=None if momentum == 0.1 else repr(momentum) if momentum else "None",
            affine="False",
        )
        return Source("{self}({0})", module)

    def affine(self, blobs: Sequence[Tensor]) -> Affine | None:
        if not self.use_global_stats or self.one_channel:
            return None
        mean, variance = stored_statistics(blobs)
        return Affine((variance + self.eps).rsqrt_(), mean)

    def _normalize_channels(self, bottom: Tensor, weight: Tensor | None, bias: Tensor | None, rectify: bool) -> Tensor:
        """`normalize` for a bottom (n, c, ...)."""
        if self.use_global_stats:
            top = F.batch_norm(bottom, *stored_statistics(self.blobs), weight, bias, eps=self.eps)
            return F.relu_(top) if rectify else top
        top, mean, variance = normalize_batch(bottom, weight, bias, self.eps, rectify)
        one = _constant(1.0, mean)
        for blob, value in zip(self.blobs, (mean, variance, one), strict=True):
            torch.add(value, blob, alpha=self.fraction, out=blob)
        return top


def stored_statistics(blobs: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """The mean and variance that the three blobs of a BatchNorm hold."""
    mean, variance, weight = blobs
    factor = per_weight(weight)
    return mean * factor, variance * factor


def per_weight(weight: Tensor) -> Tensor:
    """What sums of statistics of that weight are multiplied by: 1 / weight, and 0 for weight 0."""
    return weight.reciprocal().nan_to_num_(nan=math.nan, posinf=0.0, neginf=0.0)


def traced_norm(x: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """A blob (n, c, ...) normalised by its own statistics, then their mean and biased variance, for an exporter."""
    axes = [axis for axis in range(x.dim()) if axis != 1]
    mean = x.mean(axes, keepdim=True)
    variance = (x - mean).square().mean(axes, keepdim=True)
    return (x - mean) / (variance + eps).sqrt(), mean, variance


def normalize_batch(
    bottom: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, rectify: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """A bottom (n, c, ...) by its own statistics, times `weight` plus `bias`, both (c,); these statistics.

    They are each channel's mean and unbiased variance, in float32 at least and without gradient; of one value the
    variance is 0. Where processes share their statistics, all of this is over the batches of all of them.

    With `rectify`, ReLU follows, and may write its gradient over the one that comes back to it: for a top that one
    layer alone reads, which makes a gradient of its own.
    """
    exact = bottom.dtype not in (torch.bfloat16, torch.float16)  # what these round away, sums need not keep
    shared = collectives.sharing_statistics() > 1
    channels = bottom.shape[1]
    values = bottom.numel() // max(1, channels)
    if values > _LENGTH and not shared and exact and bottom.is_cpu and _is_channels_last(bottom):
        with torch.no_grad():
            mean, biased = _grouped_statistics(bottom)
            scale = (biased + _constant(eps, biased)).rsqrt_()
            variance = biased * _constant(values / (values - 1), biased)
        return _Normalized.apply(bottom, weight, bias, mean, biased, scale, eps, rectify), mean, variance
    dtype = torch.promote_types(bottom.dtype, torch.float32)
    mean, variance = (torch.zeros(channels, dtype=dtype, device=bottom.device) for _ in range(2))
    if shared:
        top = SharedStatistics.apply(bottom, weight, bias, mean, variance, eps)
    elif bottom.numel() == channels:
        top = _one_value(bottom, mean, weight, bias)
    else:  # with momentum 1 torch leaves the batch's own mean and unbiased variance there
        top = F.batch_norm(bottom, mean, variance, weight, bias, training=True, momentum=1.0, eps=eps)
    return F.relu_(top) if rectify else top, mean, variance


def batch_statistics(bottom: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance (c,) of the channels of a channels_last bottom (n, c, h, w), in float32 at least."""
    if bottom.is_cpu and bottom.dtype == torch.float32:
        return _grouped_statistics(bottom)
    exact = bottom.float() if bottom.dtype == torch.bfloat16 else bottom
    variance, mean = torch.var_mean(exact, (0, 2, 3), correction=0)
    return mean, variance


def _is_channels_last(bottom: Tensor) -> bool:
    return bottom.dim() == 4 and bottom.is_contiguous(memory_format=torch.channels_last)


def _constant(value: float, like: Tensor) -> Tensor:
    """A number as a 0-dim tensor. torch makes one of a Python number in each operation, which takes longer than
    the operation does on few values."""
    if type(like) is not Tensor:  # such as one that traces: it must not meet another's
        return like.new_tensor(value)
    return _kept_constant(value, like.dtype, like.device)


@lru_cache(maxsize=1024)
def _kept_constant(value: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(value, dtype=dtype, device=device)


_LENGTH = 256  # values that float32 may add up one after the other
_WIDTH = 4096  # values in a row of the regrouped bottom, at most


@lru_cache(maxsize=1024)
def _groups(values: int, channels: int) -> int:
    """How many neighbouring pixels make a row; they divide the number of values of a channel."""
    fitting = [groups for groups in range(1, max(1, _WIDTH // channels) + 1) if values % groups == 0]
    return next((groups for groups in fitting if values <= _LENGTH * groups), fitting[-1])


def _grouped_statistics(bottom: Tensor) -> tuple[Tensor, Tensor]:
    """`batch_statistics` on a CPU, of a bottom that is dense in channels_last memory.

    torch adds up the values of a channel one after the other there, in float32: over 10^5 values that costs
    two digits. Here neighbouring pixels count as channels of their own, each adds up few values where their number
    has the divisors for it, and their statistics are then merged.
    """
    channels = bottom.shape[1]
    values = bottom.numel() // channels
    groups = _groups(values, channels)
    rows = bottom.as_strided((values // groups, groups * channels), (groups * channels, 1))
    means, variances = torch.batch_norm_update_stats(rows, None, None, 1.0)
    if groups == 1:
        return means, variances
    # the same operation, whose code is at hand, is the fastest for these few values too
    mean, between = torch.batch_norm_update_stats(means.view(groups, channels), None, None, 1.0)
    within, _ = torch.batch_norm_update_stats(variances.view(groups, channels), None, None, 1.0)
    return mean, between.add_(within)


class _Normalized(torch.autograd.Function):
    """Batch norm, and ReLU with `rectify`, of a bottom by its own mean and variance, worked out before.

    The gradient is torch's own. That of the ReLU is written over the top's, unless it is differentiated again.
    """

    @staticmethod
    def forward(
        ctx: Any,
        bottom: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        variance: Tensor,
        scale: Tensor,
        eps: float,
        rectify: bool,
    ) -> Tensor:
        """`variance` is biased; `scale` is 1 / sqrt(variance + eps)."""
        top = torch.native_batch_norm(bottom, weight, bias, mean, variance, False, 0.0, eps)[0]
        ctx.save_for_backward(bottom, weight, mean, scale, top.relu_() if rectify else None)
        ctx.eps = eps
        return top

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        bottom, weight, mean, scale, rectified = ctx.saved_tensors
        if rectified is not None:
            if torch.is_grad_enabled():
                grad = torch.ops.aten.threshold_backward(grad, rectified, 0)
            else:
                torch.ops.aten.threshold_backward.grad_input(grad, rectified, 0, grad_input=grad)
        grads = torch.ops.aten.native_batch_norm_backward(
            grad, bottom, weight, None, None, mean, scale, True, ctx.eps, list(ctx.needs_input_grad[:3])
        )
        return (*grads, None, None, None, None, None)


def _one_value(bottom: Tensor, mean: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """A batch of one value a channel, which torch refuses: its mean, filled in, is itself, its top 0."""
    mean.copy_(bottom.detach().flatten())
    shape = (-1, *[1] * (bottom.dim() - 2))
    top = bottom - bottom
    top = top if weight is None else top * weight.reshape(shape)
    return top if bias is None else top + bias.reshape(shape)
