"""MVN: each image, or each channel of it, brought to mean 0 and variance 1. Nothing is learned or stored."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers import source_parts
from sdcaffe.layers.base import Layer, OnnxBuilder, Shape, Source, SourceBuilder, call, number, register, show_shape


class _Normalize(torch.autograd.Function):
    """(x - mean) / (deviation + eps) of each row.

    Caffe's backward takes deviation + eps for the deviation itself, so with a large eps it is not autograd's.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, eps: float) -> Tensor:
        centred = rows - rows.mean(1, keepdim=True)
        scale = centred.square().mean(1, keepdim=True).sqrt() + eps
        top = centred / scale
        ctx.save_for_backward(top, scale)
        return top

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        top, scale = ctx.saved_tensors
        shared = top * (grad * top).mean(1, keepdim=True) + grad.mean(1, keepdim=True)
        return (grad - shared) / scale, None


@register("MVN", field="mvn_param")
class MVN(Layer):
    """Mean and variance over h and w, or over c, h and w with `across_channels`; the top is always (n, c, h, w).

    `eps` is added to the standard deviation, not to the variance.
    """

    param: proto.MVNParameter
    in_place = True
    keeps_places = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        (shape,) = bottom_shapes
        if len(shape) > 4:
            raise self.error(f"takes at most 4 dimensions, not {show_shape(shape)}")
        return [shape + (1,) * (4 - len(shape))]

    def forward(self, bottom: Tensor) -> Tensor:
        shape = tuple(bottom.shape) + (1,) * (4 - bottom.dim())
        together = 1 if self.param.across_channels else 2
        rows = bottom.reshape(math.prod(shape[:together]), math.prod(shape[together:]))
        if self.param.normalize_variance:
            rows = _Normalize.apply(rows, self.param.eps)
        else:
            rows = rows - rows.mean(1, keepdim=True)
        return rows.reshape(shape)

    def to_onnx(self, builder: OnnxBuilder, *bottoms: Tensor) -> Tensor:
        x = bottoms[0].reshape(*bottoms[0].shape, *[1] * (4 - bottoms[0].dim()))
        axes = (1, 2, 3) if self.param.across_channels else (2, 3)
        centred = x - x.mean(axes, keepdim=True)
        if not self.param.normalize_variance:
            return centred
        return centred / (centred.square().mean(axes, keepdim=True).sqrt() + self.param.eps)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        if len(bottoms[0]) != 4:
            raise self.unwritten(f"an MVN of {len(bottoms[0])} axes")
        axes = "[1, 2, 3]" if self.param.across_channels else "[2, 3]"
        if not self.param.normalize_variance:
            return Source(f"{{0}} - torch.mean({{0}}, {axes}, keepdim=True)", nests=False)
        return Source(call(builder.part(source_parts.standardised), "{0}", axes, number(self.param.eps)))
