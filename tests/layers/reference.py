"""Layers in float64 numpy, written as loops over Caffe's definitions. Slow and independent of the package."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

Sizes = Sequence[int]


def convolved_sizes(spatial: Sizes, kernel: Sizes, stride: Sizes, pad: Sizes, dilation: Sizes) -> tuple[int, ...]:
    """(size + 2 pad - (dilation (kernel - 1) + 1)) / stride + 1, with C's rounding towards 0."""
    axes = zip(spatial, kernel, stride, pad, dilation, strict=True)
    return tuple(math.trunc((n + 2 * p - (d * (k - 1) + 1)) / s) + 1 for n, k, s, p, d in axes)


def deconvolved_sizes(spatial: Sizes, kernel: Sizes, stride: Sizes, pad: Sizes, dilation: Sizes) -> tuple[int, ...]:
    axes = zip(spatial, kernel, stride, pad, dilation, strict=True)
    return tuple(s * (n - 1) + d * (k - 1) + 1 - 2 * p for n, k, s, p, d in axes)


def _places(
    small: Sizes, large: Sizes, kernel: Sizes, stride: Sizes, pad: Sizes, dilation: Sizes
) -> Iterator[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]:
    """(window, place in kernel, place in the large image) of each place inside it."""
    for window in np.ndindex(*small):
        for k in np.ndindex(*kernel):
            place = tuple(o * s - p + i * d for o, s, p, i, d in zip(window, stride, pad, k, dilation, strict=True))
            if all(0 <= i < n for i, n in zip(place, large, strict=True)):
                yield window, k, place


def convolution(
    x: np.ndarray, weight: np.ndarray, stride: Sizes, pad: Sizes, dilation: Sizes, group: int = 1
) -> np.ndarray:
    kernel = weight.shape[2:]
    sizes = convolved_sizes(x.shape[2:], kernel, stride, pad, dilation)
    top = np.zeros((x.shape[0], weight.shape[0], *sizes))
    c, m = x.shape[1] // group, weight.shape[0] // group
    for window, k, place in _places(sizes, x.shape[2:], kernel, stride, pad, dilation):
        for g in range(group):
            ours, theirs = slice(g * m, (g + 1) * m), slice(g * c, (g + 1) * c)
            top[(slice(None), ours, *window)] += x[(slice(None), theirs, *place)] @ weight[(ours, slice(None), *k)].T
    return top


def deconvolution(
    x: np.ndarray, weight: np.ndarray, stride: Sizes, pad: Sizes, dilation: Sizes, group: int = 1
) -> np.ndarray:
    kernel = weight.shape[2:]
    sizes = deconvolved_sizes(x.shape[2:], kernel, stride, pad, dilation)
    c, m = x.shape[1] // group, weight.shape[1]
    top = np.zeros((x.shape[0], m * group, *sizes))
    for window, k, place in _places(x.shape[2:], sizes, kernel, stride, pad, dilation):
        for g in range(group):
            ours, theirs = slice(g * m, (g + 1) * m), slice(g * c, (g + 1) * c)
            top[(slice(None), ours, *place)] += x[(slice(None), theirs, *window)] @ weight[(theirs, slice(None), *k)]
    return top


def im2col(x: np.ndarray, kernel: Sizes, stride: Sizes, pad: Sizes, dilation: Sizes) -> np.ndarray:
    """(n, c, *spatial) to (n, c * kernel count, *output), channels outermost."""
    sizes = convolved_sizes(x.shape[2:], kernel, stride, pad, dilation)
    top = np.zeros((*x.shape[:2], *kernel, *sizes))
    for window, k, place in _places(sizes, x.shape[2:], kernel, stride, pad, dilation):
        top[(slice(None), slice(None), *k, *window)] = x[(slice(None), slice(None), *place)]
    return top.reshape(x.shape[0], -1, *sizes)


def pooled_size(n: int, kernel: int, stride: int, pad: int, *, floor: bool = False) -> int:
    """Caffe's count of windows; those that start behind the image are dropped, with or without a pad."""
    count = (math.floor if floor else math.ceil)((n + 2 * pad - kernel) / stride) + 1
    while (count - 1) * stride - pad >= n:
        count -= 1
    return count


def pool(
    x: np.ndarray, method: str, kernel: Sizes, stride: Sizes, pad: Sizes, *, floor: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Top and, for MAX, the mask. STOCHASTIC is what its test phase gives."""
    h, w = x.shape[2:]
    sizes = [pooled_size(n, k, s, p, floor=floor) for n, k, s, p in zip((h, w), kernel, stride, pad, strict=True)]
    top, mask = np.zeros((*x.shape[:2], *sizes)), np.zeros((*x.shape[:2], *sizes))
    for n, c, row, column in np.ndindex(*top.shape):
        starts = row * stride[0] - pad[0], column * stride[1] - pad[1]
        ends = min(starts[0] + kernel[0], h + pad[0]), min(starts[1] + kernel[1], w + pad[1])
        area = (ends[0] - starts[0]) * (ends[1] - starts[1])
        rows, columns = range(max(starts[0], 0), min(ends[0], h)), range(max(starts[1], 0), min(ends[1], w))
        values = {i * w + j: x[n, c, i, j] for i in rows for j in columns}
        at = (n, c, row, column)
        if method == "MAX":
            mask[at] = max(values, key=lambda place: values[place])
            top[at] = values[int(mask[at])]
        elif method == "AVE":
            top[at] = sum(values.values()) / area
        else:
            total = sum(values.values())
            top[at] = sum(v * v for v in values.values()) / total if total else 0.0
    return top, mask


def lrn(x: np.ndarray, size: int, alpha: float, beta: float, k: float, *, within: bool = False) -> np.ndarray:
    """Neighbourhoods beyond the blob count as zeros; within a channel k is 1."""
    scale = np.full(x.shape, 1.0 if within else k)
    reach = size // 2
    for n, c, h, w in np.ndindex(*x.shape):
        if within:
            near = x[n, c, max(0, h - reach) : h + reach + 1, max(0, w - reach) : w + reach + 1]
        else:
            near = x[n, max(0, c - reach) : c + reach + 1, h, w]
        scale[n, c, h, w] += alpha * (near**2).sum() / (size * size if within else size)
    return x * scale**-beta
