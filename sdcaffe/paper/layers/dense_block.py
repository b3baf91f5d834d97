"""DenseBlock: a block of a DenseNet as one layer that keeps its features once, and little else, for backward."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sdcaffe import proto
from sdcaffe.collectives import sharing_statistics
from sdcaffe.layers.base import Layer, Shape, check_size, register, show_shape
from sdcaffe.layers.batch_norm import batch_statistics, per_weight

BLOBS = 6  # of an inner layer: the BatchNorm's mean, variance and weight; the Scale's two; the convolution's weight


@dataclass
class _Inner:
    """What backward needs of one inner layer, besides its parameters and the features."""

    mean: Tensor
    scale: Tensor  # 1 / sqrt(variance + eps)
    kept: Tensor | None  # dropout's mask times its factor


class _Block(torch.autograd.Function):
    """All inner layers on one buffer of features; backward normalises anew instead of keeping what it needs.

    Written out, each layer's concatenation, batch norm and ReLU stay in memory until backward: of m layers m^2 / 2
    times `growth` maps, here m. (Pleiss et al. 2017, "Memory-Efficient Implementation of DenseNets".)
    """

    @staticmethod
    def forward(ctx: Any, bottom: Tensor, block: DenseBlock, batch: list[Tensor], *params: Tensor) -> Tensor:
        """`params`: weight and bias of the Scale and weight of the convolution, for each inner layer.

        Fills `batch` with each layer's mean, unbiased variance and 1.
        """
        device = bottom.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else bottom.dtype
        n, c, h, w = bottom.shape
        growth, channels = block.growth, c + block.layers * block.growth
        last = torch.channels_last
        features = torch.empty((n, channels, h, w), dtype=dtype, device=bottom.device, memory_format=last)
        features[:, :c] = bottom
        inner = []
        scratch, active = _Scratch(features), _Scratch(features)
        with torch.autocast(device, enabled=False):
            for i in range(block.layers):
                x = scratch.first(c + i * growth).copy_(features[:, : c + i * growth])
                values = x.numel() // x.shape[1]
                mean, variance = batch_statistics(x)
                scale = (variance + block.eps).rsqrt()
                batch += [mean, variance * (values / (values - 1)) if values > 1 else variance, mean.new_ones(1)]
                y = _activated(x, mean, scale, params[3 * i], params[3 * i + 1], active.first(c + i * growth))
                new = F.conv2d(y, params[3 * i + 2].to(dtype), padding=1)
                kept = None
                if block.ratio:
                    kept = torch.empty_like(new).bernoulli_(1 - block.ratio).div_(1 - block.ratio)
                    new = new * kept
                features[:, c + i * growth : c + (i + 1) * growth] = new
                inner.append(_Inner(mean, scale, kept))
        ctx.save_for_backward(features, *params)
        ctx.inner, ctx.block, ctx.channels, ctx.bottom_dtype = inner, block, c, bottom.dtype
        return features

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, top_gradient: Tensor) -> tuple[Tensor | None, ...]:
        features, *params = ctx.saved_tensors
        block, c = ctx.block, ctx.channels
        growth, dtype = block.growth, features.dtype
        grad = top_gradient.clone(memory_format=torch.channels_last)
        grads: list[Tensor | None] = [None] * len(params)
        scratch, active = _Scratch(features), _Scratch(features)
        for i in reversed(range(block.layers)):
            kept, mean, scale = ctx.inner[i].kept, ctx.inner[i].mean, ctx.inner[i].scale
            weight, bias, kernel = params[3 * i : 3 * i + 3]
            start = c + i * growth
            new = grad[:, start : start + growth].contiguous(memory_format=torch.channels_last)
            new = new if kept is None else new.mul_(kept)
            x = scratch.first(start).copy_(features[:, :start])
            y = _activated(x, mean, scale, weight, bias, active.first(start))
            inward, by_kernel, _ = torch.ops.aten.convolution_backward(
                new, y, kernel.to(dtype), None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [True, True, False]
            )
            torch.ops.aten.threshold_backward.grad_input(inward, y, 0, grad_input=inward)
            by_x, by_weight, by_bias = torch.ops.aten.native_batch_norm_backward(
                inward, x, weight, None, None, mean, scale, True, block.eps, [True, True, True]
            )
            grad[:, :start] += by_x
            grads[3 * i : 3 * i + 3] = by_weight, by_bias, by_kernel.to(kernel.dtype)
        return (grad[:, :c].contiguous().to(ctx.bottom_dtype), None, None, *grads)


class _Scratch:
    """Memory for as many values as some features have, used again by each inner layer.

    Tensors of its own for each, every one larger than the last, would leave an allocator with holes that none fits.
    """

    def __init__(self, features: Tensor) -> None:
        self._shape = features.shape
        self._flat = features.new_empty(features.numel())

    def first(self, channels: int) -> Tensor:
        """Channels-last memory for so many channels; what it held is lost."""
        n, _, h, w = self._shape
        return self._flat[: n * h * w * channels].view(n, h, w, channels).permute(0, 3, 1, 2)


def _activated(x: Tensor, mean: Tensor, scale: Tensor, weight: Tensor, bias: Tensor, out: Tensor) -> Tensor:
    """Batch norm by given statistics, then ReLU, into `out`."""
    factor = weight * scale
    shift = (bias - mean * factor).to(x.dtype).reshape(-1, 1, 1)
    return torch.addcmul(shift, x, factor.to(x.dtype).reshape(-1, 1, 1), out=out).relu_()


@register("DenseBlock", field="dense_block_param", number=1004)
class DenseBlock(Layer):
    """`layers` times BatchNorm, Scale, ReLU and a 3x3 Convolution of all features so far, which adds `growth` to them.

    Bottom (n, c, h, w); top (n, c + layers * growth, h, w). The same function as these layers and Concats written
    out, with `dropout` behind each convolution where it is not 0. The convolutions have no bias; `weight_filler` fills
    their weights. Six blobs an inner layer, in the order of the written-out layers: the BatchNorm's three, the
    Scale's two, the convolution's one. `sdcaffe.paper.dense_blocks` takes weights from one form to the other.
    Raises LayerError for sizes that do not fit.
    """

    param: proto.DenseBlockParameter

    class Param:
        layers: int = 0
        growth: int = 0
        dropout: float = 0.0
        weight_filler: proto.FillerParameter
        moving_average_fraction: float = 0.999
        eps: float = 1e-5

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        (shape,) = bottom_shapes
        param = self.param
        if len(shape) != 4:
            raise self.error(f"needs a bottom (n, c, h, w), not {show_shape(shape)}")
        for field in ("layers", "growth"):
            if getattr(param, field) < 1:
                raise self.error(f"{field} must be at least 1, not {getattr(param, field)}", field)
        if not 0 <= param.dropout < 1:
            raise self.error(f"dropout (={param.dropout:g}) must be in [0, 1)", "dropout")
        self.layers, self.growth, self.ratio = param.layers, param.growth, param.dropout
        self.eps, self.fraction = param.eps, param.moving_average_fraction
        last = shape[1] + (self.layers - 1) * self.growth
        check_size(self, "the convolutions together", (self.layers, self.growth, 9, (shape[1] + last) // 2))
        one = proto.FillerParameter(type="constant", value=1)
        for i in range(self.layers):
            channels, first = shape[1] + i * self.growth, BLOBS * i
            for j, size in enumerate((channels, channels, 1)):
                self.blob(first + j, (size,), learnable=False)
            self.blob(first + 3, (channels,), one)
            self.blob(first + 4, (channels,))
            self.blob(first + 5, (self.growth, channels, 3, 3), param.weight_filler)
        return [(shape[0], shape[1] + self.layers * self.growth, *shape[2:])]

    def forward(self, bottom: Tensor) -> Tensor:
        if self.phase == proto.TEST:
            return self._by_stored_statistics(bottom)
        if sharing_statistics() > 1:
            raise self.error("takes each process's own batch statistics; write its layers out for sync_batch_norm")
        blobs = list(self.blobs)
        learned = [blob for i, blob in enumerate(blobs) if i % BLOBS >= 3]
        stored = [blob for i, blob in enumerate(blobs) if i % BLOBS < 3]
        batch: list[Tensor] = []
        top: Tensor = _Block.apply(bottom, self, batch, *learned)
        with torch.no_grad():
            torch._foreach_mul_(stored, self.fraction)
            torch._foreach_add_(stored, batch)
        return top

    def _by_stored_statistics(self, bottom: Tensor) -> Tensor:
        features = bottom
        for i in range(self.layers):
            mean, variance, count, weight, bias, kernel = (self.blobs[BLOBS * i + j] for j in range(BLOBS))
            factor = per_weight(count)
            y = F.batch_norm(features, mean * factor, variance * factor, weight, bias, eps=self.eps)
            features = torch.cat([features, F.conv2d(y.relu_(), kernel, padding=1)], 1)
        return features

    def multiply_adds(self, bottoms: list[Shape], tops: list[Shape]) -> int:
        n, _, h, w = tops[0]
        return n * h * w * sum(self.blobs[BLOBS * i + 5].numel() for i in range(self.layers))
