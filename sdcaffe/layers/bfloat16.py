"""Convolutions in bfloat16 on a processor that has no units for it.

torch's own loop takes some ten times as long there as a float32 convolution. The product of two bfloat16 values is a
float32 value, so a float32 convolution of rounded factors, rounded once, gives what the units give.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

Sizes = tuple[int, ...]


@cache
def _has_units() -> bool:
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def is_widened(bottom: Tensor) -> bool:
    """Whether autocast would convolve `bottom` in bfloat16 on a processor without units for it."""
    return bottom.is_cpu and torch.is_autocast_enabled("cpu") and not _has_units()


class WidenedConvolution(torch.autograd.Function):
    """A convolution, or its transpose, of factors rounded to bfloat16; what it gives is rounded once.

    Arguments: bottom (n, c, *spatial), weight, bias or None, then stride, padding and dilation of each axis, whether it
    is transposed, and the groups. The top and the bottom's gradient are bfloat16, or as wide as the bottom was.
    """

    @staticmethod
    def forward(ctx: Any, bottom: Tensor, weight: Tensor, bias: Tensor | None, *sizes: Any) -> Tensor:
        """The top, in bfloat16."""
        stride, pad, dilation, transposed, groups = sizes
        with torch.autocast("cpu", enabled=False):
            x, w = bottom.bfloat16(), weight.bfloat16()
            b = None if bias is None else _rounded(bias)
            ctx.save_for_backward(x, w)
            ctx.sizes, ctx.dtypes = sizes, (bottom.dtype, weight.dtype, None if bias is None else bias.dtype)
            none = [0] * len(stride)
            top = torch.ops.aten.convolution(x.float(), w.float(), b, stride, pad, dilation, transposed, none, groups)
            return top.bfloat16()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, top: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients by bottom, weight and bias, each rounded to bfloat16."""
        x, w = ctx.saved_tensors
        stride, pad, dilation, transposed, groups = ctx.sizes
        mask, none = list(ctx.needs_input_grad[:3]), [0] * len(stride)
        with torch.autocast("cpu", enabled=False):
            found = torch.ops.aten.convolution_backward(
                top.float(), x.float(), w.float(), [w.shape[0]] if mask[2] else None,
                stride, pad, dilation, transposed, none, groups, mask,
            )  # fmt: skip
            wanted = zip(found, mask, ctx.dtypes, strict=True)
            grads = [grad.bfloat16().to(dtype) if needed else None for grad, needed, dtype in wanted]
        return (*grads, *[None] * len(ctx.sizes))


def _rounded(tensor: Tensor) -> Tensor:
    return tensor.bfloat16().float()
