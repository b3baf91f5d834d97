"""Layers of Caffe's forks in float64 numpy, loops over the forks' definitions; independent of the package."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Box = Sequence[float]


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


def normalize(x, scale, across_spatial=True, eps=1e-10):
    axes = tuple(range(1, x.ndim)) if across_spatial else 1
    norm = np.sqrt((x**2).sum(axes, keepdims=True) + eps)
    return x / norm * np.reshape(scale, (1, -1, *[1] * (x.ndim - 2)))


def prior_boxes(h, w, image_h, image_w, *, min_size, max_size=(), ratios=(), flip=True, clip=False, variance=(0.1,),
                step_h=None, step_w=None, offset=0.5):  # fmt: skip
    """(1, 2, boxes * 4) in SSD's order."""
    wanted = [1.0]
    for ratio in ratios:
        if not any(abs(ratio - other) < 1e-6 for other in wanted):
            wanted.append(ratio)
            if flip:
                wanted.append(1 / ratio)
    step_h, step_w = step_h or image_h / h, step_w or image_w / w
    boxes = []
    for row in range(h):
        for column in range(w):
            x, y = (column + offset) * step_w, (row + offset) * step_h
            for s, small in enumerate(min_size):
                small = int(small)
                sides = [(small, small)]
                base = small
                if max_size:
                    base = math.sqrt(small * int(max_size[s]))
                    sides.append((base, base))
                sides += [(base * math.sqrt(r), base / math.sqrt(r)) for r in wanted if abs(r - 1) >= 1e-6]
                for width, height in sides:
                    boxes += [(x - width / 2) / image_w, (y - height / 2) / image_h]
                    boxes += [(x + width / 2) / image_w, (y + height / 2) / image_h]
    if clip:
        boxes = [min(max(value, 0.0), 1.0) for value in boxes]
    variances = list(variance) * (len(boxes) // len(variance))
    return np.array([[boxes, variances]])


def decoded(offset: Box, prior: Box, variance: Box, code: str, encoded: bool) -> list[float]:
    v = [1.0] * 4 if encoded else variance
    width, height = prior[2] - prior[0], prior[3] - prior[1]
    if code == "CORNER":
        return [prior[i] + v[i] * offset[i] for i in range(4)]
    if code == "CORNER_SIZE":
        return [prior[i] + v[i] * offset[i] * (width, height)[i % 2] for i in range(4)]
    x = v[0] * offset[0] * width + (prior[0] + prior[2]) / 2
    y = v[1] * offset[1] * height + (prior[1] + prior[3]) / 2
    wide, high = math.exp(v[2] * offset[2]) * width, math.exp(v[3] * offset[3]) * height
    return [x - wide / 2, y - high / 2, x + wide / 2, y + high / 2]


def jaccard(a: Box, b: Box) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    size_a, size_b = ((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return width * height / (size_a + size_b - width * height)


def kept_boxes(boxes, scores, confidence, overlap, top_k, eta) -> list[int]:
    """Indices that SSD's non-maximum suppression keeps, in its order."""
    tried = sorted((i for i in range(len(scores)) if scores[i] > confidence), key=lambda i: -scores[i])
    if top_k > -1:
        tried = tried[:top_k]
    kept: list[int] = []
    for i in tried:
        if all(jaccard(boxes[i], boxes[k]) <= overlap for k in kept):
            kept.append(i)
            if eta < 1 and overlap > 0.5:
                overlap *= eta
    return kept


def detections(location, confidence, prior, *, classes, share=True, background=0, overlap=0.3, top_k=-1, eta=1.0,
               code="CORNER", encoded=False, keep=-1, threshold=-math.inf):  # fmt: skip
    """SSD's rows (image, label, confidence, box) of (n, boxes * 4) offsets and (n, boxes * classes) confidences."""
    n = location.shape[0]
    priors, variances = prior.reshape(2, -1, 4)
    offsets = location.reshape(n, len(priors), -1, 4)
    scores = confidence.reshape(n, len(priors), classes)
    rows = []
    for i in range(n):
        found = []
        for label in range(classes):
            if label == background:
                continue
            own = 0 if share else label
            boxes = [decoded(offsets[i, p, own], priors[p], variances[p], code, encoded) for p in range(len(priors))]
            for p in kept_boxes(boxes, scores[i, :, label], threshold, overlap, top_k, eta):
                found.append([i, label, scores[i, p, label], *boxes[p]])
        if -1 < keep < len(found):
            found = sorted(sorted(found, key=lambda row: -row[2])[:keep], key=lambda row: row[1])
        rows += found
    if not rows:
        rows = [[i, *[-1] * 6] for i in range(n)]
    return np.array(rows, dtype=np.float64).reshape(1, 1, -1, 7)


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
