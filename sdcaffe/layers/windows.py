"""Pooling over windows of height and width: MAX, AVE and STOCHASTIC, with Caffe's output sizes. Holds no layer type."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from sdcaffe import proto
from sdcaffe.layers.base import Layer, Shape, show_shape

Pair = tuple[int, int]  # height, width


@dataclass(frozen=True)
class Windows:
    """Where the windows lie: sizes in height and width, and how many there are. `pad` is before, `behind` behind."""

    kernel: Pair
    stride: Pair
    pad: Pair
    behind: Pair
    pooled: Pair
    ceil: bool

    @property
    def wide(self) -> bool:
        """Padding that torch's pooling refuses: more than half a kernel, or not the same on both sides."""
        return self.pad != self.behind or any(2 * p > k for p, k in zip(self.pad, self.kernel, strict=True))

    @property
    def sides(self) -> tuple[int, int, int, int]:
        """The padding as torch wants it: left, right, top, bottom."""
        return self.pad[1], self.behind[1], self.pad[0], self.behind[0]

    def padded(self, bottom: Tensor, value: float) -> Tensor:
        return F.pad(bottom, self.sides, value=value)

    @property
    def single(self) -> bool:
        """Windows of one value each."""
        return self.kernel == (1, 1)

    def picked(self, bottom: Tensor) -> Tensor:
        """The one value of each window. Top and gradient are in channels_last memory."""
        values = bottom.permute(0, 2, 3, 1)[:, :: self.stride[0], :: self.stride[1]].permute(0, 3, 1, 2)
        return values.clone(memory_format=torch.channels_last)

    def crop(self, top: Tensor) -> Tensor:
        return top[:, :, : self.pooled[0], : self.pooled[1]]


def place_windows(
    layer: Layer,
    bottom: Shape,
    kernel: Pair,
    stride: Pair,
    pad: Pair,
    *,
    behind: Pair | None = None,
    ceil: bool = True,
) -> Windows:
    """Windows over a bottom (n, c, h, w): ceil((size + pad + behind - kernel) / stride) + 1 of them per axis.

    `behind` is `pad` unless it is given. A last window that would start behind the image (in its padding or, where
    the stride exceeds the kernel, beyond) is dropped. Raises LayerError where nothing is left, where a pad reaches
    its kernel, and where the padding behind would hold another whole window.
    """
    pooled, behind = [], pad if behind is None else behind
    for name, size, k, s, p, b in zip("hw", bottom[2:], kernel, stride, pad, behind, strict=True):
        if k < 1 or s < 1:
            raise layer.error(f"kernel_{name} (={k}) and stride_{name} (={s}) must be at least 1", "kernel_size")
        if p >= k:
            raise layer.error(f"pad_{name} (={p}) must be less than kernel_{name} (={k})", "pad")
        spare = size + p + b - k
        count = (-(-spare // s) if ceil else spare // s) + 1
        if (count - 1) * s >= size + p:
            count -= 1
        if p != b and (count - 1) * s >= size + p:
            raise layer.error(f"the padding behind {name} (={b}) holds more than one window", "pooling_param")
        if count < 1:
            raise layer.error(
                f"kernel_{name} (={k}) does not fit bottom {show_shape(bottom)} with pad {p}", "kernel_size"
            )
        pooled.append(count)
    return Windows(kernel, stride, pad, behind, (pooled[0], pooled[1]), ceil)


def max_pool(bottom: Tensor, windows: Windows) -> Tensor:
    """The largest value of each window; its gradient goes to the first of equals."""
    if windows.single:
        return windows.picked(bottom)
    if windows.wide:
        return max_pool_with_mask(bottom, windows)[0]
    return F.max_pool2d(bottom, windows.kernel, windows.stride, windows.pad, ceil_mode=windows.ceil)


def max_pool_with_mask(bottom: Tensor, windows: Windows) -> tuple[Tensor, Tensor]:
    """The largest value of each window and its place h * width + w in its channel, as a number of the same type."""
    if not windows.wide:
        top, index = F.max_pool2d(
            bottom, windows.kernel, windows.stride, windows.pad, ceil_mode=windows.ceil, return_indices=True
        )
        return top, index.to(bottom.dtype)
    numbers = torch.finfo(bottom.dtype)  # ONNX Runtime 1.26 finds no place for the least of them, nor for -inf
    padded = windows.padded(bottom, numbers.min * (1 - numbers.eps))
    top, index = F.max_pool2d(padded, windows.kernel, windows.stride, ceil_mode=True, return_indices=True)
    width, padded_width = bottom.shape[3], padded.shape[3]
    row = index.div(padded_width, rounding_mode="floor") - windows.pad[0]
    column = index % padded_width - windows.pad[1]
    return windows.crop(top), windows.crop(row * width + column).to(bottom.dtype)


def ave_pool(bottom: Tensor, windows: Windows) -> Tensor:
    """The sum of each window over the window's area within image and padding (padding counts, as in Caffe)."""
    if windows.single:
        return windows.picked(bottom)
    if not windows.wide:
        return F.avg_pool2d(bottom, windows.kernel, windows.stride, windows.pad, windows.ceil)
    padded = windows.padded(bottom, 0.0)
    return windows.crop(F.avg_pool2d(padded, windows.kernel, windows.stride, 0, ceil_mode=True))


def _cells(bottom: Tensor, windows: Windows) -> Tensor:
    """Unpadded windows as (n, c, h, w, kernel count), with zeros for what lies behind the image."""
    behind = [
        max(0, (count - 1) * s + k - n)
        for count, s, k, n in zip(windows.pooled, windows.stride, windows.kernel, bottom.shape[2:], strict=True)
    ]
    view = F.pad(bottom, (0, behind[1], 0, behind[0])) if any(behind) else bottom
    view = view.unfold(2, windows.kernel[0], windows.stride[0]).unfold(3, windows.kernel[1], windows.stride[1])
    return windows.crop(view).flatten(4)


def draw_pool(bottom: Tensor, windows: Windows) -> Tensor:
    """One value of each window, drawn with probability proportional to it (Zeiler and Fergus 2013).

    Values are taken to be non-negative; a window of zeros gives its first. Draws on torch's generator.
    """
    cells = _cells(bottom, windows)
    running = cells.detach().cumsum(-1)
    total = running[..., -1:]
    threshold = (1 - torch.rand_like(total)) * total
    picked = (running >= threshold).to(torch.uint8).argmax(-1, keepdim=True)
    return cells.gather(-1, picked).squeeze(-1)


def expected_pool(bottom: Tensor, windows: Windows) -> Tensor:
    """The mean of each window weighted by its own values: what `draw_pool` gives on average."""
    cells = _cells(bottom, windows)
    return cells.square().sum(-1) / (cells.sum(-1) + torch.finfo(cells.dtype).tiny)


def pooling_of(layer: Layer, method: int, phase: int) -> Callable[[Tensor, Windows], Tensor]:
    """The function of a PoolMethod (the same numbers in PoolingParameter and SPPParameter)."""
    if method == proto.PoolingParameter.MAX:
        return max_pool
    if method == proto.PoolingParameter.AVE:
        return ave_pool
    if method == proto.PoolingParameter.STOCHASTIC:
        return draw_pool if phase == proto.TRAIN else expected_pool
    raise layer.error(f"unknown pooling method {method}", "pool")


def check_4d(layer: Layer, bottom: Shape) -> None:
    """Raises LayerError for a bottom that is not (n, c, h, w)."""
    if len(bottom) != 4:
        raise layer.error(f"the bottom must have 4 axes (n, c, h, w), not {len(bottom)}: {show_shape(bottom)}")
