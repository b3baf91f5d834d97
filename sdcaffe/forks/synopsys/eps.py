"""add_eps_before_sqrt: whether a norm's eps is added to the variance or to its root, in BatchNorm, MVN and Normalize.

From foss-for-synopsys-dwc-arc-processors/synopsys-caffe@977ba36. Normalize looks at it itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any

import torch
from torch import Tensor

from sdcaffe import collectives, proto
from sdcaffe.forks.synopsys import source_parts
from sdcaffe.layers.base import Affine, Shape, Source, SourceBuilder, call, number, register
from sdcaffe.layers.batch_norm import BatchNorm, stored_statistics
from sdcaffe.layers.mvn import MVN


class BatchNormEps:
    add_eps_before_sqrt: Annotated[bool, 4] = True


class MVNEps:
    add_eps_before_sqrt: Annotated[bool, 4] = False


proto.schema.extend("BatchNormParameter", BatchNormEps)
proto.schema.extend("MVNParameter", MVNEps)


class _Normalized(torch.autograd.Function):
    """(x - mean) / (deviation + eps) of the channels of x (n, c, m), whose gradient is the fork's.

    It takes deviation + eps for the deviation itself.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, mean: Tensor, divisor: Tensor) -> Tensor:
        top = (x - mean) / divisor
        ctx.save_for_backward(top, divisor)
        return top

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        top, divisor = ctx.saved_tensors
        shared = top * (grad * top).mean((0, 2), keepdim=True) + grad.mean((0, 2), keepdim=True)
        return (grad - shared) / divisor, None, None


@register("BatchNorm", field="batch_norm_param", when=lambda layer: not layer.batch_norm_param.add_eps_before_sqrt)
class EpsBehindBatchNorm(BatchNorm):
    """See BatchNorm; y = (x - mean) / (sqrt(variance) + eps), with add_eps_before_sqrt: false.

    The gradient of a batch's own statistics is the fork's, which takes sqrt(variance) + eps for the deviation itself.
    """

    origin = "Synopsys Caffe"

    def forward(self, bottom: Tensor) -> Tensor:
        shape = bottom.shape
        x = bottom.reshape(shape[0], 1 if self.one_channel else shape[1], -1)
        if self.use_global_stats:
            mean, variance = (values.reshape(1, -1, 1) for values in stored_statistics(self.blobs))
            return ((x - mean) / (variance.sqrt() + self.eps)).reshape(shape)
        if collectives.sharing_statistics() > 1:
            raise self.error("add_eps_before_sqrt: false cannot share statistics between processes")
        variance, mean = torch.var_mean(x.detach(), (0, 2), correction=0)
        values = x.shape[0] * x.shape[2]
        unbiased = variance * (values / max(1, values - 1))
        for blob, value in zip(self.blobs, (mean, unbiased, torch.ones_like(mean[:1])), strict=True):
            torch.add(value, blob, alpha=self.fraction, out=blob)
        divisor = variance.sqrt() + self.eps
        top: Tensor = _Normalized.apply(x, mean.reshape(1, -1, 1), divisor.reshape(1, -1, 1))
        return top.reshape(shape)

    def affine(self, blobs: Sequence[Tensor]) -> Affine | None:
        if not self.use_global_stats or self.one_channel:
            return None
        mean, variance = stored_statistics(blobs)
        return Affine((variance.sqrt() + self.eps).reciprocal(), mean)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        if not self.use_global_stats or len(bottoms[0]) < 2:
            raise self.unwritten("a BatchNorm that uses the batch's own statistics in the test phase, or of one axis")
        made = call(builder.part(source_parts.EpsBehindNorm), str(bottoms[0][1]), number(self.eps))
        return Source("{self}({0})", made)


@register("MVN", field="mvn_param", when=lambda layer: layer.mvn_param.add_eps_before_sqrt)
class EpsInsideMVN(MVN):
    """See MVN; the divisor is sqrt(variance + eps), with add_eps_before_sqrt: true."""

    origin = "Synopsys Caffe"

    def forward(self, bottom: Tensor) -> Tensor:
        x = bottom.reshape(tuple(bottom.shape) + (1,) * (4 - bottom.dim()))
        axes = [1, 2, 3] if self.param.across_channels else [2, 3]
        if not self.param.normalize_variance:
            return x - x.mean(axes, keepdim=True)
        if math.prod(x.shape) == 0:
            return x
        return source_parts.eps_inside(x, axes, self.param.eps)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        if len(bottoms[0]) != 4 or not self.param.normalize_variance:
            raise self.unwritten("an MVN of other than 4 axes, or without variance,")
        axes = "[1, 2, 3]" if self.param.across_channels else "[2, 3]"
        return Source(call(builder.part(source_parts.eps_inside), "{0}", axes, number(self.param.eps)))
