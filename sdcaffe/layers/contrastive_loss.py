"""ContrastiveLoss of pairs of features (Hadsell et al. 2006), and the form Caffe had before its mending."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import Shape, register, show_shape
from sdcaffe.layers.loss import LossLayer


class _Contrastive(torch.autograd.Function):
    """Caffe's backward divides by the distance plus 1e-4, so that equal features have a gradient too."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, similar: Tensor, margin: float, legacy: bool) -> Tensor:
        difference = a - b
        squared = difference.square().sum(1)
        distance = squared if legacy else squared.sqrt()
        short = margin - distance
        ctx.legacy, ctx.scale = legacy, 1 / max(1, len(a))
        ctx.save_for_backward(difference, similar, short, distance)
        apart = short.clamp(min=0)
        return torch.where(similar, squared, apart if legacy else apart.square()).sum() * ctx.scale / 2

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        difference, similar, short, distance = ctx.saved_tensors
        push = torch.ones_like(short) if ctx.legacy else short / (distance + 1e-4)
        factor = torch.where(similar, torch.ones_like(push), torch.where(short > 0, -push, 0.0))
        first = (grad * ctx.scale * factor).unsqueeze(1) * difference
        return first, -first, None, None, None


@register("ContrastiveLoss", field="contrastive_loss_param")
class ContrastiveLoss(LossLayer):
    """Features a and b (n, c), or (n,) of one channel, and a flag y: 1 for a pair that belongs together, else 0.

    With d the distance of a pair: sum y d^2 + (1 - y) max(margin - d, 0)^2 over 2 n; with `legacy_version`
    max(margin - d^2, 0) instead of the second square.
    """

    param: proto.ContrastiveLossParameter
    bottoms = 3
    index_bottoms = (2,)

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        a, b, flag = bottom_shapes
        if not a or (*a, 1)[:2] != (*b, 1)[:2] or any(n != 1 for n in a[2:] + b[2:]):
            raise self.error(
                f"features {show_shape(a)} and {show_shape(b)} must have the same number and channels, "
                "and height and width 1"
            )
        if flag[:1] != a[:1] or any(n != 1 for n in flag[1:]):
            raise self.error(f"needs {a[0]} flags, one a pair, not a blob of shape {show_shape(flag)}")
        return [()]

    def forward(self, a: Tensor, b: Tensor, flag: Tensor) -> Tensor:
        similar = flag.detach().reshape(-1).trunc() != 0
        parameters = self.param.margin, self.param.legacy_version
        n = len(a)
        return _Contrastive.apply(a.reshape(n, -1), b.reshape(n, -1), similar, *parameters)
