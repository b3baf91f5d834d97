"""Windows of images as R-CNN trains on them: the window file, and one window cut and warped as in Caffe."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sdcaffe.data.decode import read_bytes
from sdcaffe.data.resize import resize
from sdcaffe.errors import DataError
from sdcaffe.reading import is_regular

Box = tuple[int, int, int, int]  # x1, y1, x2, y2: first and last column and row, both inside


@dataclass(frozen=True)
class Window:
    image: int
    label: int
    box: Box


@dataclass
class WindowFile:
    """What a window file lists: images, and their windows as foreground and background."""

    paths: list[str] = field(default_factory=list)
    sizes: list[tuple[int, int, int]] = field(default_factory=list)  # channels, height, width
    foreground: list[Window] = field(default_factory=list)
    background: list[Window] = field(default_factory=list)


def read_windows(source: str, root_folder: str, fg_threshold: float, bg_threshold: float) -> WindowFile:
    """The windows of a file that repeats, separated by white space:

    `# index path channels height width count` and, count times, `label overlap x1 y1 x2 y2`. A window whose
    overlap is at least `fg_threshold` is foreground; of the others, one below `bg_threshold` is background
    with label 0. Raises DataError, with what stands in the place.
    """
    try:
        words = iter(read_bytes(source, "the window file").decode("utf-8").split())
    except UnicodeDecodeError:
        raise DataError("cannot read the window file: it is not text", source) from None
    found = WindowFile()
    for mark in words:
        where = f"{source}, image {len(found.paths)}"
        if mark != "#":
            raise DataError(f'"{mark}" where an image should begin with #', where)
        try:
            index = int(next(words))
            path = root_folder + next(words)
            channels, height, width, count = [int(next(words)) for _ in range(4)]
            if index != len(found.paths):
                raise DataError(f"has the index {index}; images are numbered from 0 in order", where)
            if channels != 3:
                raise DataError(f"says {channels} channels; windows are cut from colour images, 3 channels", where)
            if not is_regular(path):
                raise DataError(f"there is no image {path}", where)
            found.paths.append(path)
            found.sizes.append((channels, height, width))
            for _ in range(count):
                _add(found, index, words, fg_threshold, bg_threshold, where)
        except StopIteration:
            raise DataError("the file ends in the middle of this image", where) from None
        except ValueError:
            raise DataError("a number is missing, or a word stands in its place", where) from None
    if not found.paths:
        raise DataError("the window file is empty", source)
    return found


def _add(found: WindowFile, image: int, words: Iterator[str], fg: float, bg: float, where: str) -> None:
    label, overlap = int(next(words)), float(next(words))
    x1, y1, x2, y2 = [int(next(words)) for _ in range(4)]
    if np.float32(overlap) >= np.float32(fg):
        if label <= 0:
            raise DataError(f"a foreground window has label {label}; 0 is the background's", where)
        found.foreground.append(Window(image, label, (x1, y1, x2, y2)))
    elif np.float32(overlap) < np.float32(bg):
        found.background.append(Window(image, 0, (x1, y1, x2, y2)))


@dataclass(frozen=True)
class Warp:
    """How a window becomes a square of `crop` pixels: with `context` pixels of surroundings at each side,
    and `square` to keep the aspect ratio."""

    crop: int
    context: int
    square: bool

    def cut(self, image: NDArray[np.uint8], box: Box, mirror: bool, where: str) -> tuple[NDArray[np.uint8], int, int]:
        """The warped window (C, h, w), at most crop x crop, and the row and column it belongs at.

        What lies beyond the image is no part of it. Raises DataError for a window outside the image.
        """
        x1, y1, x2, y2 = box
        height, width = image.shape[1:]
        row = column = 0
        size = (self.crop, self.crop)
        if self.context or self.square:
            (x1, x2, left, right, wide), (y1, y2, row, _, high) = self._expanded(box, width, height)
            column = right if mirror else left
            size = (min(high, self.crop - row), min(wide, self.crop - column))
        if not (0 <= x1 <= x2 < width and 0 <= y1 <= y2 < height):
            raise DataError(f"window {' '.join(map(str, box))} lies outside the image of {width}x{height}", where)
        if min(size) < 1:
            return np.empty((len(image), 0, 0), np.uint8), row, column
        warped = resize(image[:, y1 : y2 + 1, x1 : x2 + 1], *size)
        return (warped[:, :, ::-1] if mirror else warped), row, column

    def _expanded(self, box: Box, width: int, height: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Per axis: first and last pixel inside the image, padding before and after, and length, warped."""
        f = np.float32
        scale = f(self.crop) / f(self.crop - 2 * self.context)
        half = [f(box[2] - box[0] + 1) / f(2), f(box[3] - box[1] + 1) / f(2)]
        centre = [f(box[0]) + half[0], f(box[1]) + half[1]]
        if self.square:
            half = [max(half), max(half)]
        axes = []
        for middle, reach, limit in zip(centre, half, (width, height), strict=True):
            first, last = _round(middle - reach * scale), _round(middle + reach * scale)
            before, after = max(0, -first), max(0, last - limit + 1)
            shrink = f(self.crop) / f(last - first + 1)
            first, last = first + before, last - after
            length = _round(f(last - first + 1) * shrink)
            axes.append((first, last, _round(f(before) * shrink), _round(f(after) * shrink), length))
        return axes[0], axes[1]


def _round(value: np.float32) -> int:
    """To the nearest whole number, halves away from zero, as C's round."""
    return int(math.copysign(math.floor(abs(float(value)) + 0.5), value))
