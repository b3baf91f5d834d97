"""MultiModalBatchNorm: BatchNorm by weighted items, for one mode of several in a batch."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from sdcaffe.layers.base import OnnxBuilder, Shape, Source, SourceBuilder, register, show_shape
from sdcaffe.layers.batch_norm import BatchNorm, stored_statistics


class MultiModalBatchNormParameter:
    use_global_stats: bool
    moving_average_fraction: float = 0.999
    eps: float = 1e-5


class _Weighted(torch.autograd.Function):
    """(x - mean) / deviation * weight; x (n, c, ...), statistics and weight shaped to it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, mean: Tensor, deviation: Tensor, of_batch: bool) -> Tensor:
        normed = (x - mean) / deviation
        ctx.save_for_backward(normed, weight, deviation)
        ctx.of_batch = of_batch
        return normed * weight

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None, None, None]:
        normed, weight, deviation = ctx.saved_tensors
        if not ctx.of_batch:
            return grad / deviation, None, None, None, None
        axes = [axis for axis in range(grad.dim()) if axis != 1]
        total = weight.sum() * math.prod(grad.shape[2:])
        plain = (weight * grad).sum(axes, keepdim=True)
        along = (weight * grad * normed).sum(axes, keepdim=True)
        moved = weight * (grad - (plain + along * normed) / total) / deviation
        turned = grad * normed - (0.5 * (normed.square() - 1) * along + plain * normed) / total
        return moved, turned.flatten(1).sum(1).reshape(weight.shape), None, None, None


@register("MultiModalBatchNorm", field="multimodal_batch_norm_param", number=174)
class MultiModalBatchNorm(BatchNorm):
    """w * (x - mean) / sqrt(variance + eps) for each channel of x (n, c, ...), w (n,) being bottom 1.

    As in CAFFE-DACH (JiahaoLi-gdut/CAFFE-DACH@388c826). Mean and variance are those of the batch weighted by w. The
    blobs are BatchNorm's, and so is what is kept in them. The gradient is the fork's: that to w takes
    variance / (variance + eps) for 1; with use_global_stats that to x lacks the factor w, and w has none.
    """

    Param = MultiModalBatchNormParameter
    bottoms = 2
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        bottom, weight = bottom_shapes
        if len(bottom) < 2 or math.prod(weight) != bottom[0]:
            raise self.error(f"needs items (n, c, ...) and n weights: {show_shape(bottom)} and {show_shape(weight)}")
        return super().setup([bottom])

    def forward(self, bottom: Tensor, *weights: Tensor) -> Tensor:
        weight = weights[0].reshape(-1, *[1] * (bottom.dim() - 1))
        if self.use_global_stats:
            mean, variance = (
                value.reshape(1, -1, *[1] * (bottom.dim() - 2)) for value in stored_statistics(self.blobs)
            )
        else:
            with torch.no_grad():
                mean, variance = self._weighted(bottom, weight)
                self._keep(mean.flatten(), variance.flatten(), bottom.numel() // bottom.shape[1])
        top: Tensor = _Weighted.apply(bottom, weight, mean, (variance + self.eps).sqrt(), not self.use_global_stats)
        return top

    def _weighted(self, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The mean and the variance of x (n, c, ...) by the weights of its items."""
        axes = [axis for axis in range(x.dim()) if axis != 1]
        share = weight / (weight.sum() * math.prod(x.shape[2:]))
        mean = (x * share).sum(axes, keepdim=True)
        return mean, ((x - mean).square() * share).sum(axes, keepdim=True)

    def _keep(self, mean: Tensor, variance: Tensor, count: int) -> None:
        unbiased = variance * (count / (count - 1)) if count > 1 else variance
        for blob, value in zip(self.blobs, (mean, unbiased, torch.ones_like(mean[:1])), strict=True):
            blob.mul_(self.fraction).add_(value)

    def onnx_blobs(self) -> list[Tensor]:
        return BatchNorm.onnx_blobs(self)

    def to_onnx(self, builder: OnnxBuilder, *bottoms: Tensor) -> Tensor:
        bottom, weight = bottoms
        weight = weight.reshape(-1, *[1] * (bottom.dim() - 1))
        if self.use_global_stats:
            mean, variance = (value.reshape(1, -1, *[1] * (bottom.dim() - 2)) for value in builder.blobs)
        else:
            mean, variance = self._weighted(bottom, weight)
        return (bottom - mean) / (variance + self.eps).sqrt() * weight

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        plain = BatchNorm.to_source(self, builder, bottoms[0])
        view = ", ".join(["-1", *["1"] * (len(bottoms[0]) - 1)])
        return Source(f"{plain.text} * {{1}}.reshape({view})", plain.module, nests=False)
