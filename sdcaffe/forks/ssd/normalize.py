"""Normalize: L2 normalisation with a learned scale."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.forks.ssd import source_parts
from sdcaffe.layers.base import Layer, Shape, Source, SourceBuilder, call, number, register, show_shape


class NormalizeParameter:
    across_spatial: bool = True
    scale_filler: proto.FillerParameter
    channel_shared: bool = True
    eps: float = 1e-10
    add_eps_before_sqrt: bool = True  # of Synopsys' Caffe


class _ScaledLast(torch.autograd.Function):
    """scale * x / norm, whose gradient to x is scale * (g - x * sum(x * g) / norm^2) / norm.

    SSD leaves the scale out of that sum, and takes norm for the root itself. It is the true gradient only where all
    scales are one number, and eps is under the root.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, norm: Tensor, scale: Tensor, axes: tuple[int, ...]) -> Tensor:
        ctx.save_for_backward(x, norm, scale)
        ctx.axes = axes
        return x / norm * scale

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, Tensor | None, None]:
        x, norm, scale = ctx.saved_tensors
        product = x * gradient
        to_x = (gradient - x * (product.sum(ctx.axes, keepdim=True) / norm.square())) / norm * scale
        to_scale = (product / norm).sum_to_size(scale.shape) if ctx.needs_input_grad[2] else None
        return to_x, None, to_scale, None


@register("Normalize", field="norm_param", number=206)
class Normalize(Layer):
    """y = scale * x / sqrt(sum x^2 + eps) of a bottom (n, c, ...), as in SSD (weiliu89/caffe@4817bf8).

    The sum goes over a whole item, or, where across_spatial is false, over the channels of each position.
    Blob 0 is the scale, 1 without a filler: one number, shape (), or one a channel, (c,), where
    channel_shared is false. The gradient is the fork's, which differs from the true one where channels have
    different scales: see `_ScaledLast`. add_eps_before_sqrt: false is of
    foss-for-synopsys-dwc-arc-processors/synopsys-caffe@977ba36: eps is added to the root of an item's sum then, and
    where across_spatial is false it changes nothing, as there.
    """

    param: proto.NormalizeParameter
    Param = NormalizeParameter
    torch_names = (("weight",),)
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        (bottom,) = bottom_shapes
        param = self.param
        if len(bottom) < 2:
            raise self.error(f"needs a bottom (n, c, ...), not {show_shape(bottom)}")
        if not param.eps >= 0:
            raise self.error(f"eps must be 0 or more, not {param.eps:g}", "eps")
        one = proto.FillerParameter(type="constant", value=1)
        shape: Shape = () if param.channel_shared else (bottom[1],)
        self.blob(0, shape, param.scale_filler if param.HasField("scale_filler") else one)
        self.axes = tuple(range(1, len(bottom))) if param.across_spatial else (1,)
        self.view = (-1, *[1] * (len(bottom) - 2))
        self.eps: float = param.eps
        self.eps_behind: bool = param.across_spatial and not param.add_eps_before_sqrt
        return [bottom]

    def forward(self, bottom: Tensor) -> Tensor:
        scale = self.blobs[0].reshape(self.view)
        true = self.param.channel_shared and not self.eps_behind
        if true or not (torch.is_grad_enabled() and bottom.requires_grad):
            return bottom / self._norm(bottom) * scale
        top: Tensor = _ScaledLast.apply(bottom, self._norm(bottom.detach()), scale, self.axes)
        return top

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        made = call(
            builder.part(source_parts.Normalize),
            *(str(n) for n in self.blobs[0].shape),
            across_spatial=str(self.param.across_spatial),
            eps=number(self.eps),
            eps_behind="True" if self.eps_behind else None,
        )
        return Source("{self}({0})", made)

    def _norm(self, bottom: Tensor) -> Tensor:
        square = bottom.square().sum(self.axes, keepdim=True)
        return square.sqrt() + self.eps if self.eps_behind else (square + self.eps).sqrt()
