"""Layers of Caffe's forks in float64 numpy, loops over the forks' definitions; independent of the package."""

from __future__ import annotations

import math

import numpy as np


def depthwise(x, weight, bias, stride=1, pad=0, dilation=1):
    """Each channel with kernel weight[c, 0]; several kernels a channel where weight has a multiple of them."""
    n, c, h, w = x.shape
    outputs, _, kh, kw = weight.shape
    reach = [dilation * (k - 1) + 1 for k in (kh, kw)]
    top = np.zeros((n, outputs, (h + 2 * pad - reach[0]) // stride + 1, (w + 2 * pad - reach[1]) // stride + 1))
    for i, o, y, z in np.ndindex(*top.shape):
        for a, b in np.ndindex(kh, kw):
            row, column = y * stride - pad + a * dilation, z * stride - pad + b * dilation
            if 0 <= row < h and 0 <= column < w:
                top[i, o, y, z] += weight[o, 0, a, b] * x[i, o // (outputs // c), row, column]
    return top + bias.reshape(1, -1, 1, 1)


def interpolated(x, height, width, beg=0, end=0, nearest=False):
    """Corner pixels of the cut bottom become those of the top."""
    x = x[:, :, -beg : x.shape[2] + end, -beg : x.shape[3] + end]
    h, w = x.shape[2:]
    top = np.zeros((*x.shape[:2], height, width))
    for row, column in np.ndindex(height, width):
        y = row * (h - 1) / (height - 1) if height > 1 else 0.0
        z = column * (w - 1) / (width - 1) if width > 1 else 0.0
        if nearest:
            top[:, :, row, column] = x[:, :, math.floor(y + 0.5), math.floor(z + 0.5)]
            continue
        y0, z0 = int(y), int(z)
        y1, z1 = min(y0 + 1, h - 1), min(z0 + 1, w - 1)
        for yy, a in ((y0, 1 - (y - y0)), (y1, y - y0)):
            for zz, b in ((z0, 1 - (z - z0)), (z1, z - z0)):
                top[:, :, row, column] += a * b * x[:, :, yy, zz]
    return top


def unpooled(x, mask, height, width):
    top = np.zeros((*x.shape[:2], height * width))
    for i, c in np.ndindex(*x.shape[:2]):
        for value, place in zip(x[i, c].flat, mask[i, c].flat, strict=True):
            top[i, c, int(place)] = value
    return top.reshape(*x.shape[:2], height, width)


def shuffled(x, group):
    top = np.zeros_like(x)
    each = x.shape[1] // group
    for i in range(group):
        for j in range(each):
            top[:, j * group + i] = x[:, i * each + j]
    return top


def c_round(value: float) -> int:
    """C's round: a half goes away from 0."""
    return int(math.copysign(math.floor(abs(value) + 0.5), value))


def roi_pooled(x, regions, pooled_h, pooled_w, spatial_scale=1.0):
    _, channels, h, w = x.shape
    top = np.zeros((len(regions), channels, pooled_h, pooled_w))
    for r, region in enumerate(regions.reshape(-1, 5)):
        x1, y1, x2, y2 = (c_round(value * spatial_scale) for value in region[1:])
        cell_h, cell_w = max(y2 - y1 + 1, 1) / pooled_h, max(x2 - x1 + 1, 1) / pooled_w
        for c, i, j in np.ndindex(channels, pooled_h, pooled_w):
            rows = [min(max(math.floor(i * cell_h) + y1, 0), h), min(max(math.ceil((i + 1) * cell_h) + y1, 0), h)]
            columns = [min(max(math.floor(j * cell_w) + x1, 0), w), min(max(math.ceil((j + 1) * cell_w) + x1, 0), w)]
            window = x[int(region[0]), c, slice(*rows), slice(*columns)]
            top[r, c, i, j] = window.max() if window.size else 0.0
    return top


def statistics(x, axis=1):
    """Mean and variances (biased, unbiased) of each channel."""
    values = np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1)
    return values.mean(1), values.var(1), values.var(1, ddof=1)


def batch_norm(x, mean, variance, scale, shift, eps, axis=1):
    view = [1] * x.ndim
    view[axis] = -1
    mean, variance, scale, shift = (np.reshape(v, view) for v in (mean, variance, scale, shift))
    return scale * (x - mean) / np.sqrt(variance + eps) + shift
