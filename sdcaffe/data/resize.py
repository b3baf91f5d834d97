"""Bilinear resizing of byte images, with the numbers of OpenCV's cv::resize(INTER_LINEAR) that Caffe calls."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
Weights = NDArray[np.int32]
Taps = tuple[Indices, Indices, Weights, Weights]  # of each target pixel: two source pixels, and their weights

_BITS = 11  # of OpenCV's fixed-point weights


def resize(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """(C, H, W) bytes -> (C, height, width) bytes.

    Pixel centres are aligned and nothing is smoothed, however much the image shrinks; an exact halving
    takes the mean of four pixels. Computed in OpenCV's fixed point, so equal to it byte for byte where
    OpenCV uses its own kernels.
    """
    if image.shape[1:] == (height, width):
        return image
    if image.shape[1:] == (2 * height, 2 * width):
        wide = image.astype(np.uint16)
        total = wide[:, ::2, ::2] + wide[:, ::2, 1::2] + wide[:, 1::2, ::2] + wide[:, 1::2, 1::2]
        return ((total + 2) >> 2).astype(np.uint8)
    return blend(image, _centred(image.shape[1], height), _centred(image.shape[2], width))


def blend(image: NDArray[np.uint8], rows: Taps, columns: Taps) -> NDArray[np.uint8]:
    """(C, H, W) bytes -> a byte for each of `rows` and `columns`: a mean of four pixels, in OpenCV's fixed point."""
    top, bottom, above, below = rows
    left, right, before, after = columns
    image = np.ascontiguousarray(image)
    wide = np.multiply(image.take(left, 2), before, dtype=np.int32)
    wide += np.multiply(image.take(right, 2), after, dtype=np.int32)
    wide >>= 4
    upper, lower = wide.take(top, 1), wide.take(bottom, 1)
    for part, weights in ((upper, above), (lower, below)):
        part *= weights[:, None]
        part >>= 16
    upper += lower
    upper += 2
    upper >>= 2  # at most 255, as the weights of a pixel are 2048 in all, or 2049
    return upper.astype(np.uint8)


@functools.lru_cache(256)
def _centred(source: int, target: int) -> Taps:
    centre = ((np.arange(target) + 0.5) * (source / target) - 0.5).astype(np.float32)
    first = np.floor(centre).astype(np.int64)
    return taps(first, centre - first.astype(np.float32), source)


def taps(first: Indices, part: NDArray[np.float32], source: int) -> Taps:
    """What `blend` takes of an axis of `source` pixels: by `part` towards the pixel after `first`; edges go on."""
    weights = np.rint(np.stack([1 - part, part]) * np.float32(1 << _BITS)).astype(np.int32)
    return first.clip(0, source - 1), (first + 1).clip(0, source - 1), weights[0], weights[1]
