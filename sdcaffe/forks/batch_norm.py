"""NVIDIA Caffe's dialect of BatchNorm: scale and bias of its own, five blobs, statistics that are not sums."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from typing import Annotated, Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from sdcaffe import proto
from sdcaffe.forks import source_parts
from sdcaffe.layers.base import Shape, Source, SourceBuilder, Stored, call, number, register
from sdcaffe.layers.batch_norm import BatchNorm, normalize_batch

LEAST_EPS = 1e-5  # what cuDNN takes at least


class Engine(enum.IntEnum):
    DEFAULT = 0
    CAFFE = 1
    CUDNN = 2


class ForksBatchNormParameter:
    """What forks add to BatchNormParameter. NVIDIA Caffe: its engine is accepted and not looked at."""

    scale_filler: Annotated[proto.FillerParameter, 5]
    bias_filler: Annotated[proto.FillerParameter, 6]
    scale_bias: Annotated[bool, 7] = False
    engine: Annotated[Engine, 15] = Engine.DEFAULT
    # SKNet, for its CuDNNBatchNorm; the numbers it has for them are other fields' here
    frozen: Annotated[bool, 1000] = False
    momentum: Annotated[float, 1001] = 0.999


proto.schema.extend("BatchNormParameter", ForksBatchNormParameter)

_OWN, _SKNET = ("scale_filler", "bias_filler"), ("frozen", "momentum")


def is_forks(layer_param: proto.LayerParameter) -> bool:
    """Whether a BatchNorm has scale and bias of its own, or fields that BVLC Caffe's would not look at."""
    param = layer_param.batch_norm_param
    return bool(param.scale_bias or any(param.HasField(field) for field in (*_OWN, *_SKNET)))


@register("BatchNorm", field="batch_norm_param", when=is_forks)
class NvidiaBatchNorm(BatchNorm):
    """y = scale * (x - mean) / sqrt(variance + eps) + bias for each channel (axis 1), where scale_bias is true.

    Blobs as of NVIDIA Caffe 0.16 and later (NVIDIA/caffe@87a2554): 0 mean (c,), 1 variance (c,), 2 the number 1, 3
    scale (c,), 4 bias (c,); the last two are learned. The five blobs of 0.15 (scale, bias, mean, variance, correction)
    are read too, but for those of a single channel, which cannot be told apart. In training the statistics are the
    batch's, unless use_global_stats is true, and blobs 0 and 1 move towards them (the variance unbiased, as cuDNN's) by
    1 - moving_average_fraction, or become the first batch's where they are 0. eps is at least 1e-5. Raises LayerError
    for the fields that SKNet's batch_norm_param has.
    """

    origin = "NVIDIA Caffe"

    normalizes = True
    torch_names = (("mean", "variance", "count", "weight", "bias"),)

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        (bottom,) = bottom_shapes
        param = self.param
        if not bottom:
            raise self.error("the bottom needs at least one axis")
        for field in _SKNET:
            if param.HasField(field):
                raise self.error(f'{field} is of SKNet\'s CuDNNBatchNorm; write type: "CuDNNBatchNorm"', field)
        self.one_channel = len(bottom) == 1
        self.use_global_stats = self.phase == proto.TEST or param.use_global_stats
        self.fraction = param.moving_average_fraction
        self.eps = max(param.eps, LEAST_EPS)
        channels = 1 if self.one_channel else bottom[1]
        one = proto.FillerParameter(type="constant", value=1)
        self.blob(0, (channels,), learnable=False)
        self.blob(1, (channels,), learnable=False)
        self.blob(2, (1,), one, learnable=False)
        self.blob(3, (channels,), param.scale_filler if param.HasField("scale_filler") else one)
        self.blob(4, (channels,), param.bias_filler if param.HasField("bias_filler") else None)
        return [bottom]

    def arranged(self, blobs: Mapping[int, Stored]) -> dict[int, Stored]:
        if len(blobs) == 5 and _count(blobs[4]) == 1 != _count(blobs[2]):
            blobs = {0: blobs[2], 1: blobs[3], 2: _ones(blobs[4]), 3: blobs[0], 4: blobs[1]}
        return {i: b if b is None or len(b.shape) == 1 else b.reshape(-1) for i, b in blobs.items()}

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        made = builder.part(source_parts.FusedBatchNorm)
        module = call(made, str(self.blobs[0].shape[0]), eps=number(self.eps), counted="True")
        return Source("{self}({0}.unsqueeze(1)).squeeze(1)" if self.one_channel else "{self}({0})", module, nests=False)

    def normalize(
        self, bottom: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, rectify: bool = False
    ) -> Tensor:
        """The top times `weight` plus `bias`, both (c,), then ReLU with `rectify`, in one pass; updates the blobs."""
        mean, variance, _, scale, shift = self.blobs
        if weight is not None:
            scale, shift = scale * weight, shift * weight
        if bias is not None:
            shift = shift + bias
        x = bottom.unsqueeze(1) if self.one_channel else bottom
        if self.use_global_stats:
            top = F.batch_norm(x, mean, variance, scale, shift, eps=self.eps)
            top = F.relu_(top) if rectify else top
        else:
            top, batch_mean, batch_variance = normalize_batch(x, scale, shift, self.eps, rectify)
            step = torch.where((variance == 0).all(), 1.0, 1 - self.fraction).to(mean.dtype)
            mean.lerp_(batch_mean, step)
            variance.lerp_(batch_variance, step)
        return top.squeeze(1) if self.one_channel else top


def _count(blob: Tensor | NDArray[Any] | None) -> int:
    return 0 if blob is None else math.prod(blob.shape)


def _ones(blob: Stored) -> Stored:
    return blob if blob is None else blob.reshape(-1) * 0 + 1
