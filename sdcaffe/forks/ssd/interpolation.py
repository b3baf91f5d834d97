"""Resizing of byte images with each of OpenCV's interpolations, and borders around them: what resize_param asks for.

Computed as cv::resize does, in its fixed point where it has one. LINEAR is `sdcaffe.data.resize`'s.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sdcaffe.data.decode import check_size
from sdcaffe.data.resize import Taps, blend, resize, taps
from sdcaffe.forks.ssd.messages import ResizeParameter

Image = NDArray[np.uint8]  # (C, H, W)
Floats = NDArray[np.float32]
Mode = ResizeParameter.Interp_mode
PadMode = ResizeParameter.Pad_mode

_BITS = 11  # of OpenCV's fixed-point weights
_SLIVER = 1e-3  # parts of a pixel that AREA passes over


def resized(image: Image, height: int, width: int, mode: int) -> Image:
    """(C, H, W) bytes -> (C, height, width) bytes, contiguous. Raises DataError as `resize`."""
    if image.shape[1:] == (height, width):
        return np.ascontiguousarray(image)
    check_size(height, width)
    if mode == Mode.NEAREST:
        return image[:, _nearest(image.shape[1], height)[:, None], _nearest(image.shape[2], width)]
    if mode == Mode.AREA:
        return _area(image, height, width)
    if mode == Mode.CUBIC:
        return _fixed(image, height, width, 4, cubic)
    if mode == Mode.LANCZOS4:
        return _fixed(image, height, width, 8, _lanczos)
    return resize(image, height, width)


def scaled(image: Image, factor: np.float32) -> Image:
    """(C, H, W) bytes with sides `factor` times as long, LINEAR: as cv::resize given a factor, not a size.

    Sides are rounded, a half to the even number; places go by the factor alone. Raises DataError as `resize`.
    """
    step = 1 / float(factor)
    height, width = (max(round(side * float(factor)), 1) for side in image.shape[1:])
    check_size(height, width)
    if step == 2:
        return _halved(image, height, width)
    rows, columns = (
        _stepped(source, target, step) for source, target in zip(image.shape[1:], (height, width), strict=True)
    )
    return blend(image, rows, columns)


def bordered(image: Image, rows: tuple[int, int], columns: tuple[int, int], mode: int, values: Floats) -> Image:
    """`image` with so many rows and columns more on each side: of `values`, one a channel, mirrored, or the edge's."""
    if mode != PadMode.CONSTANT:
        return np.pad(image, ((0, 0), rows, columns), mode="reflect" if mode == PadMode.MIRRORED else "edge")
    height, width = image.shape[1] + sum(rows), image.shape[2] + sum(columns)
    found = np.empty((len(image), height, width), np.uint8)
    found[:] = np.rint(values).clip(0, 255)[:, None, None]
    found[:, rows[0] : rows[0] + image.shape[1], columns[0] : columns[0] + image.shape[2]] = image
    return found


def _halved(image: Image, height: int, width: int) -> Image:
    """Means of four pixels, and of those that there are at an edge of an odd side."""
    there = np.pad(np.ones((1, *image.shape[1:]), np.int32), _to_even(image))
    values = np.pad(image.astype(np.int32), _to_even(image))
    total, count = (
        part.reshape(len(part), part.shape[1] // 2, 2, part.shape[2] // 2, 2).sum((2, 4))[:, :height, :width]
        for part in (values, there)
    )
    means = np.rint(total.astype(np.float32) / count.astype(np.float32)).astype(np.uint8)
    return np.where(count == 4, (total + 2) >> 2, means).astype(np.uint8)


def _to_even(image: Image) -> tuple[tuple[int, int], ...]:
    return (0, 0), (0, image.shape[1] % 2), (0, image.shape[2] % 2)


def _stepped(source: int, target: int, step: float) -> Taps:
    centre = ((np.arange(target) + 0.5) * step - 0.5).astype(np.float32)
    first = np.floor(centre).astype(np.int64)
    return taps(first, centre - first.astype(np.float32), source)


def _scale(source: int, target: int) -> float:
    """Source pixels a target pixel, rounded as OpenCV rounds it."""
    return 1 / (target / source)


def _nearest(source: int, target: int) -> NDArray[np.int64]:
    return np.floor(np.arange(target) * _scale(source, target)).astype(np.int64).clip(max=source - 1)


def _area(image: Image, height: int, width: int) -> Image:
    """Means of areas where the image shrinks; where a side grows, OpenCV blends neighbours, at places of their own."""
    scales = image.shape[1] / height, image.shape[2] / width
    if min(scales) < 1:
        rows, columns = (
            _grown(source, target) for source, target in zip(image.shape[1:], (height, width), strict=True)
        )
        return blend(image, rows, columns)
    if all(scale == int(scale) for scale in scales):
        down, across = (int(scale) for scale in scales)
        blocks = image.reshape(len(image), height, down, width, across).sum((2, 4), dtype=np.int32)
        if (down, across) == (2, 2):
            return ((blocks + 2) >> 2).astype(np.uint8)
        return np.rint(blocks.astype(np.float32) * np.float32(1 / (down * across))).astype(np.uint8)
    across_sum = _parts(image.astype(np.float32), width, 2)
    return np.rint(_parts(across_sum, height, 1)).clip(0, 255).astype(np.uint8)


def _grown(source: int, target: int) -> Taps:
    place = np.arange(target)
    first = np.floor(place * _scale(source, target)).astype(np.int64)
    part = ((place + 1) - (first + 1) * (target / source)).astype(np.float32)
    part = np.where(part <= 0, np.float32(0), part - np.floor(part))
    part[first >= source - 1] = 0
    return taps(first, part, source)


def _parts(values: Floats, target: int, axis: int) -> Floats:
    """Weighted means along an axis: each target pixel covers so many source pixels, the first and the last in part."""
    source = values.shape[axis]
    scale = _scale(source, target)
    start = np.arange(target) * scale
    end = start + scale
    width = np.minimum(scale, source - start)
    last = np.minimum(np.floor(end).astype(np.int64), source - 1)
    first = np.minimum(np.ceil(start).astype(np.int64), last)
    before, after = first - start, np.minimum(np.minimum(end - last, 1), width)
    shape = [1] * values.ndim
    shape[axis] = target

    def part(index: NDArray[np.int64], weight: NDArray[np.float64]) -> Floats:
        return np.take(values, index.clip(0, source - 1), axis) * weight.astype(np.float32).reshape(shape)

    total = part(first - 1, np.where(before > _SLIVER, before / width, 0))
    for step in range(int((last - first).max(initial=0))):
        total += part(first + step, np.where(first + step < last, 1 / width, 0))
    return total + part(last, np.where(end - last > _SLIVER, after / width, 0))


def _fixed(image: Image, height: int, width: int, size: int, weigh: Callable[[Floats], Floats]) -> Image:
    """Weighted sums of `size` pixels each way, the weights in 11 bits."""
    rows, row_weights = _weights(image.shape[1], height, size, weigh)
    columns, column_weights = _weights(image.shape[2], width, size, weigh)
    wide = np.zeros((*image.shape[:2], width), np.int32)
    for tap in range(size):
        wide += image[:, :, columns[:, tap]] * column_weights[:, tap]
    if size == 4:
        return _sums_in_floats(wide, rows, row_weights)
    total = np.full((len(image), height, width), 1 << 2 * _BITS - 1, np.int64)
    for tap in range(size):
        total += wide[:, rows[:, tap]].astype(np.int64) * row_weights[:, tap, None]
    return (total >> 2 * _BITS).clip(0, 255).astype(np.uint8)


def _sums_in_floats(wide: NDArray[np.int32], rows: NDArray[np.int64], weights: NDArray[np.int32]) -> Image:
    """Weighted sums of rows, in float32 from the last tap to the first: what OpenCV does for CUBIC."""
    scaled = weights.astype(np.float32) * np.float32(2.0 ** (-2 * _BITS))
    total = np.zeros((len(wide), len(rows), wide.shape[2]), np.float32)
    for tap in reversed(range(weights.shape[1])):
        total += wide[:, rows[:, tap]].astype(np.float32) * scaled[:, tap, None]
    return np.rint(total).clip(0, 255).astype(np.uint8)


def _weights(
    source: int, target: int, size: int, weigh: Callable[[Floats], Floats]
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Of each target pixel the `size` source pixels, edges going on, and their weights."""
    places, part = neighbours(source, target, size)
    return places, np.rint(weigh(part) * np.float32(1 << _BITS)).astype(np.int32)


def neighbours(source: int, target: int, size: int) -> tuple[NDArray[np.int64], Floats]:
    """Of each target pixel `size` source pixels, edges going on, and how far it is behind the middle ones' first."""
    centre = ((np.arange(target) + 0.5) * (source / target) - 0.5).astype(np.float32)
    first = np.floor(centre).astype(np.int64)
    places = first[:, None] + np.arange(size) - (size // 2 - 1)
    return places.clip(0, source - 1), centre - first.astype(np.float32)


def cubic(part: Floats) -> Floats:
    """The weights of four pixels, (n, 4), for places so far behind the second."""
    a = np.float32(-0.75)
    before, after = part + 1, 1 - part
    first = ((a * before - 5 * a) * before + 8 * a) * before - 4 * a
    second = ((a + 2) * part - (a + 3)) * part * part + 1
    third = ((a + 2) * after - (a + 3)) * after * after + 1
    return np.stack([first, second, third, 1 - first - second - third], 1)


def _lanczos(part: Floats) -> Floats:
    place = part.astype(np.float64)[:, None] + 3 - np.arange(8)
    with np.errstate(divide="ignore", invalid="ignore"):
        angle = -place * np.pi / 4
        weights = (np.sin(angle) * np.sin(4 * angle) / (4 * angle * angle)).astype(np.float32)
    weights = weights / weights.sum(1, keepdims=True)
    weights[part < np.finfo(np.float32).eps] = np.eye(8, dtype=np.float32)[3]
    return weights
