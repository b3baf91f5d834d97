"""Pooling as ONNX, for images whose size may be a symbol, and as PyTorch source. Holds no layer type."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sdcaffe.layers import source_parts
from sdcaffe.layers.base import Layer, Source, SourceBuilder, call, pair
from sdcaffe.layers.windows import Windows, ave_pool, max_pool


def _fits(windows: Windows, size: Any, axis: int) -> bool:
    """Whether windows rounded down, padded alike on both sides, are the windows of this axis."""
    kernel, stride, pad = windows.kernel[axis], windows.stride[axis], windows.pad[axis]
    if 2 * pad > kernel or pad != windows.behind[axis]:
        return False
    if not windows.ceil or stride == 1:  # then none begins behind the image either: a pad is less than its kernel
        return True
    return isinstance(size, int) and (size + 2 * pad - kernel) // stride + 1 == windows.pooled[axis]


def _count(size: Any, windows: Windows, axis: int) -> Any:
    """How many windows lie on an axis whose size may be symbolic; one begins in the padding behind: it is dropped."""
    kernel, stride, pad, behind = windows.kernel[axis], windows.stride[axis], windows.pad[axis], windows.behind[axis]
    spare = size + pad + behind - kernel
    count = ((spare + stride - 1) // stride if windows.ceil else spare // stride) + 1
    if stride <= kernel - behind:
        return count
    return torch.sym_min(count, (size + pad + stride - 1) // stride)


def _covered(bottom: Tensor, windows: Windows) -> list[Any]:
    """How far the windows reach in height and width, from the first number of the padding."""
    reach = []
    for axis in (0, 1):
        size = bottom.shape[2 + axis]
        count = windows.pooled[axis] if isinstance(size, int) else _count(size, windows, axis)
        reach.append((count - 1) * windows.stride[axis] + windows.kernel[axis])
    return reach


def exactly(bottom: Tensor, windows: Windows, value: float) -> Tensor:
    """The bottom padded, or cut, to what its windows cover."""
    rows, columns = _covered(bottom, windows)
    top, left = windows.pad
    height, width = bottom.shape[2:]
    return F.pad(bottom, (left, columns - left - width, top, rows - top - height), value=value)


def _simple(bottom: Tensor, windows: Windows) -> bool:
    return all(_fits(windows, bottom.shape[2 + axis], axis) for axis in (0, 1))


def _none_dropped(windows: Windows) -> bool:
    """Whether no window can begin behind the image, so that an operator's own rounding up is Caffe's."""
    places = zip(windows.kernel, windows.stride, windows.pad, strict=True)
    return windows.ceil and not windows.wide and all(stride <= kernel - pad for kernel, stride, pad in places)


def pool(bottom: Tensor, windows: Windows, method: Callable[[Tensor, Windows], Tensor]) -> Tensor:
    """MAX, AVE, or the STOCHASTIC of the test phase, of an image whose size may be symbolic."""
    if method is max_pool:
        if _simple(bottom, windows):
            return F.max_pool2d(bottom, windows.kernel, windows.stride, windows.pad)
        if _none_dropped(windows):
            return F.max_pool2d(bottom, windows.kernel, windows.stride, windows.pad, ceil_mode=True)
        return F.max_pool2d(exactly(bottom, windows, -math.inf), windows.kernel, windows.stride)
    if method is ave_pool:
        if _simple(bottom, windows):
            return F.avg_pool2d(bottom, windows.kernel, windows.stride, windows.pad)
        if windows.pad == (0, 0) and _none_dropped(windows):
            return F.avg_pool2d(bottom, windows.kernel, windows.stride, ceil_mode=True, count_include_pad=False)
        total = F.avg_pool2d(exactly(bottom, windows, 0.0), windows.kernel, windows.stride)
        area = windows.padded(torch.ones_like(bottom[:1, :1]), 1.0)  # Caffe divides by the area of image and padding
        rows, columns = _covered(bottom, windows)
        area = F.pad(area, (0, columns - area.shape[3], 0, rows - area.shape[2]))
        return total / F.avg_pool2d(area, windows.kernel, windows.stride)
    padded = exactly(bottom, windows, 0.0)
    squares = F.avg_pool2d(padded.square(), windows.kernel, windows.stride)
    sums = F.avg_pool2d(padded, windows.kernel, windows.stride)
    return squares / (sums + torch.finfo(sums.dtype).tiny)


def source(layer: Layer, method: Callable[[Tensor, Windows], Tensor], windows: Windows) -> str:
    """MAX or AVE of `{0}`. Raises LayerError for other methods."""
    if method not in (max_pool, ave_pool):
        raise layer.unwritten("STOCHASTIC pooling")
    maximum = method is max_pool
    function = "F.max_pool2d" if maximum else "F.avg_pool2d"
    stride = None if windows.stride == windows.kernel else pair(windows.stride)
    ceil = "True" if windows.ceil else None
    if not windows.wide:
        padding = pair(windows.pad) if any(windows.pad) else None
        return call(function, "{0}", pair(windows.kernel), stride=stride, padding=padding, ceil_mode=ceil)
    value = 'float("-inf")' if maximum else None
    padded = call("F.pad", "{0}", str(windows.sides), value=value)  # and then the windows behind go
    rows, columns = windows.pooled
    return (
        call(function, padded, pair(windows.kernel), stride=stride, ceil_mode="True") + f"[:, :, :{rows}, :{columns}]"
    )


def source_with_mask(builder: SourceBuilder, windows: Windows) -> Source:
    """MAX and its mask."""
    kernel, stride, pad, sides, pooled = (
        str(list(sizes)) for sizes in (windows.kernel, windows.stride, windows.pad, windows.sides, windows.pooled)
    )
    if windows.wide:
        part = builder.part(source_parts.padded_max_pool_with_mask)
        return Source(f"{part}({{0}}, {kernel}, {stride}, {sides}, {pooled})")
    return Source(f"{builder.part(source_parts.max_pool_with_mask)}({{0}}, {kernel}, {stride}, {pad}, {windows.ceil})")
