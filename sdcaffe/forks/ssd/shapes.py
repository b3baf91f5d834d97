"""The source `shapes`: pictures of 64 by 64 pixels made on the spot, one to three shapes on clutter, their boxes and
the labels of their pixels.

Discs, squares and triangles (labels 1 to 3), small and large ones, of any colour, on flowing colours with bars and
noise. Picture i of a part is always the same one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdcaffe import proto
from sdcaffe.data.source import Image, Source, register_source
from sdcaffe.errors import DataError
from sdcaffe.forks.segmentation.pairs import Pair
from sdcaffe.forks.ssd.geometry import Labelled
from sdcaffe.forks.ssd.picture import Picture

SIZE = 64
PARTS = {"train": 3000, "test": 500}
SMALL, LARGE = (5.0, 8.5), (12.0, 21.0)  # half the side of a shape's box, in pixels

Plane = NDArray[np.float32]


class _Random:
    """Uniform numbers from Philox's raw output, which no version of numpy changes."""

    def __init__(self, part: str, index: int) -> None:
        self._bits = np.random.Philox(key=[list(PARTS).index(part), 64], counter=[0, 0, 0, index])

    def uniform(self, low: float, high: float, *shape: int) -> Any:
        raw = np.asarray(self._bits.random_raw(int(np.prod(shape)))).reshape(shape)
        return (raw >> np.uint64(40)).astype(np.float32) * np.float32((high - low) / 2**24) + np.float32(low)


@register_source("shapes")
class Shapes(Source):
    """`shapes:train` is 3,000 pictures, `shapes:test` 500 others. Raises DataError for another part."""

    def __init__(self, where: str, param: proto.DataParameter, color: str) -> None:
        super().__init__(where, param, color)
        if where not in PARTS:
            raise DataError(f'"shapes" has no part "{where}"; write shapes:train or shapes:test', self.where)
        self._part = where

    def __len__(self) -> int:
        return PARTS[self._part]

    def read(self, index: int) -> tuple[Image, int]:
        """A picture, (3, 64, 64), and the label of its first shape."""
        picture = self.picture(index)
        return picture.pixels, int(picture.labelled.facts[0, 0])

    def picture(self, index: int) -> Picture:
        """A picture and the boxes of its shapes, as fractions of it."""
        pixels, shapes = self._made(index)
        boxes = np.array([_bounds(cover) for _, cover in shapes], np.float32)
        facts = np.array([(label, i, 0) for i, (label, _) in enumerate(shapes)], np.float32)
        labelled = Labelled(boxes / SIZE, facts)
        return Picture(pixels, labelled, SIZE, SIZE, False, shapes[0][0], True, f"{self.where}, picture {index}")

    def pair(self, index: int) -> Pair:
        """A picture and the label of each pixel: that of the shape that covers half of it or more, else 0."""
        pixels, shapes = self._made(index)
        labels = np.zeros((1, SIZE, SIZE), np.uint8)
        for label, cover in shapes:
            labels[0, cover >= 0.5] = label
        return Pair(pixels, labels, f"{self.where}, picture {index}")

    def _made(self, index: int) -> tuple[NDArray[np.uint8], list[tuple[int, Plane]]]:
        """The pixels of a picture, and of each of its shapes the label and how much of each pixel it covers."""
        random = _Random(self._part, index)
        image = _background(random)
        for _ in range(2):
            _paint(image, _bar(random), random)
        boxes: list[list[float]] = []
        shapes: list[tuple[int, Plane]] = []
        for _ in range(1 + int(random.uniform(0, 3))):
            placed = _placed(random, boxes)
            if placed is None:
                continue
            label = 1 + int(random.uniform(0, 3))
            cover = _cover(label, *placed)
            _paint(image, cover, random)
            boxes.append(_bounds(cover))
            shapes.append((label, cover))
        image += random.uniform(-0.06, 0.06, 3, SIZE, SIZE)
        pixels = (image.clip(0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)
        return pixels, shapes


def _grid() -> tuple[Plane, Plane]:
    line = np.arange(SIZE, dtype=np.float32) + np.float32(0.5)
    return np.broadcast_to(line, (SIZE, SIZE)), np.broadcast_to(line[:, None], (SIZE, SIZE))


def _background(random: _Random) -> Plane:
    """Two colours that flow into each other, (3, 64, 64)."""
    x, y = _grid()
    wave = np.sin(x * random.uniform(-0.15, 0.15) + y * random.uniform(-0.15, 0.15) + random.uniform(0, 6.28))
    mix = (np.float32(0.5) + np.float32(0.5) * wave)[None]
    first, second = random.uniform(0.1, 0.9, 3, 1, 1), random.uniform(0.1, 0.9, 3, 1, 1)
    return np.asarray(first * mix + second * (1 - mix), np.float32)


def _bar(random: _Random) -> Plane:
    """How much of each pixel a straight bar covers: clutter."""
    x, y = _grid()
    angle, at = random.uniform(0, 3.14), random.uniform(8, SIZE - 8, 2)
    along = (x - at[0]) * np.cos(angle) + (y - at[1]) * np.sin(angle)
    across = (y - at[1]) * np.cos(angle) - (x - at[0]) * np.sin(angle)
    outside = np.maximum(np.abs(along) - random.uniform(6, 24), np.abs(across) - random.uniform(0.7, 2))
    return np.asarray((0.5 - outside).clip(0, 1), np.float32)


def _placed(random: _Random, boxes: list[list[float]]) -> tuple[float, float, float] | None:
    """Middle and half side of a shape that meets none of the boxes; None where eight trials find no place."""
    for _ in range(8):
        half = float(random.uniform(*(SMALL if random.uniform(0, 1) < 0.5 else LARGE)))
        x, y = (float(random.uniform(half + 1, SIZE - half - 1)) for _ in range(2))
        if all(x + half < b[0] or x - half > b[2] or y + half < b[1] or y - half > b[3] for b in boxes):
            return x, y, half
    return None


def _cover(label: int, middle_x: float, middle_y: float, half: float) -> Plane:
    x, y = _grid()
    x, y = (x - np.float32(middle_x)) / np.float32(half), (y - np.float32(middle_y)) / np.float32(half)
    if label == 1:
        outside = np.hypot(x, y) - 1
    elif label == 2:
        outside = np.maximum(np.abs(x), np.abs(y)) - 1
    else:
        outside = np.maximum((2 * np.abs(x) - y - 1) / np.float32(5**0.5), y - 1)
    return np.asarray((np.float32(0.5) - outside * np.float32(half)).clip(0, 1), np.float32)


def _bounds(cover: Plane) -> list[float]:
    """The box of what is covered by half or more."""
    rows, columns = np.flatnonzero((cover >= 0.5).any(1)), np.flatnonzero((cover >= 0.5).any(0))
    return [float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)]


def _paint(image: Plane, cover: Plane, random: _Random) -> None:
    """A colour unlike what it covers, where `cover` says."""
    behind = (image * cover).sum((1, 2)) / (cover.sum() + np.float32(1e-3))
    away = random.uniform(0.25, 0.5, 3)
    colour = np.where(behind > 0.5, behind - away, behind + away).astype(np.float32)
    image += cover * (colour[:, None, None] - image)
