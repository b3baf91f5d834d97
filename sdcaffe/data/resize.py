"""Bilinear resizing of byte images, with the numbers of OpenCV's cv::resize(INTER_LINEAR) that Caffe calls."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from sdcaffe.data.decode import check_size

Indices = NDArray[np.int64]
Weights = NDArray[np.int32]
Taps = tuple[Indices, Indices, Weights, Weights]  # of each target pixel: two source pixels, and their weights

_BITS = 11  # of OpenCV's fixed-point weights
_STRIP = 64  # rows of a resized image


def resize(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """(C, H, W) bytes -> (C, height, width) bytes.

    Pixel centres are aligned and nothing is smoothed, however much the image shrinks; an exact halving
    takes the mean of four pixels. Computed in OpenCV's fixed point, so equal to it byte for byte where
    OpenCV uses its own kernels. Raises DataError for a picture that is too large.
    """
    if image.shape[1:] == (height, width):
        return image
    check_size(height, width)
    if image.shape[1:] == (2 * height, 2 * width):
        wide = image.astype(np.uint16)
        total = wide[:, ::2, ::2] + wide[:, ::2, 1::2] + wide[:, 1::2, ::2] + wide[:, 1::2, 1::2]
        return ((total + 2) >> 2).astype(np.uint8)
    return blend(image, _centred(image.shape[1], height), _centred(image.shape[2], width))


def blend(image: NDArray[np.uint8], rows: Taps, columns: Taps) -> NDArray[np.uint8]:
    """(C, H, W) bytes -> a byte for each of `rows` and `columns`: a mean of four pixels, in OpenCV's fixed point.

    Pixels stored row by row, channels last, as decoders give them, are so in what comes back too.
    """
    if not _channels_last(image):
        return np.stack([_blended(np.ascontiguousarray(plane), rows, columns) for plane in image])
    channels, order = len(image), np.arange(len(image))
    if image.strides[0] < 0:
        image, order = image[::-1], order[::-1]
    left, right, before, after = columns
    places = [(pixel[:, None] * channels + order).ravel() for pixel in (left, right)]
    weights = [np.repeat(weight, channels) for weight in (before, after)]
    flat = image.transpose(1, 2, 0).reshape(image.shape[1], -1)
    found = _blended(flat, rows, (places[0], places[1], weights[0], weights[1]))
    return found.reshape(len(rows[0]), len(left), channels).transpose(2, 0, 1)


def _channels_last(image: NDArray[np.uint8]) -> bool:
    """Whether the channels of a pixel, in either order, stand side by side, and pixels and rows behind each other."""
    channels, _, width = image.shape
    return channels > 1 and image.strides[1:] == (width * channels, channels) and abs(image.strides[0]) == 1


def _blended(image: NDArray[np.uint8], rows: Taps, columns: Taps) -> NDArray[np.uint8]:
    """`blend` of a contiguous image (H, W), a strip of rows at a time: what lies between stays in the cache."""
    top, bottom, above, below = rows
    left, right, before, after = columns
    found = np.empty((len(top), len(left)), np.uint8)

    def across(lines: NDArray[np.uint8]) -> NDArray[np.int32]:
        wide = np.multiply(lines.take(left, 1), before, dtype=np.int32)
        wide += np.multiply(lines.take(right, 1), after, dtype=np.int32)
        wide >>= 4
        return wide

    for start in range(0, len(top), _STRIP):
        strip = slice(start, start + _STRIP)
        first, last = int(top[start]), int(bottom[strip][-1])
        if last - first > 2 * _STRIP:  # not all lines are looked at
            upper, lower = across(image.take(top[strip], 0)), across(image.take(bottom[strip], 0))
        else:
            wide = across(image[first : last + 1])
            upper, lower = wide.take(top[strip] - first, 0), wide.take(bottom[strip] - first, 0)
        for pixels, weights in ((upper, above), (lower, below)):
            pixels *= weights[strip, None]
            pixels >>= 16
        upper += lower
        upper += 2
        upper >>= 2  # at most 255, as the weights of a pixel are 2048 in all, or 2049
        found[strip] = upper
    return found


@functools.lru_cache(256)
def _centred(source: int, target: int) -> Taps:
    centre = ((np.arange(target) + 0.5) * (source / target) - 0.5).astype(np.float32)
    first = np.floor(centre).astype(np.int64)
    return taps(first, centre - first.astype(np.float32), source)


def taps(first: Indices, part: NDArray[np.float32], source: int) -> Taps:
    """What `blend` takes of an axis of `source` pixels: by `part` towards the pixel after `first`; edges go on."""
    weights = np.rint(np.stack([1 - part, part]) * np.float32(1 << _BITS)).astype(np.int32)
    return first.clip(0, source - 1), (first + 1).clip(0, source - 1), weights[0], weights[1]
