"""The embedded data set: ten classes of drawn shapes, 32x32 in colour, made in memory from a fixed seed.

The class is the shape. Place, size, turn, colours, texture, background, clutter and noise say nothing
about it, and pieces of other shapes lie about, so a network must learn the shape itself. 2,000 images to
train and 2,000 to test, 200 a class; always the same ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIZE = 32
CLASSES = ("disc", "ring", "square", "frame", "triangle", "plus", "cross", "crescent", "star", "corner")
PER_CLASS = 200

# The spread of noise and of contrast sets the difficulty: a ResNet-8 of width 16 trained for 10 to 15 epochs errs on
# about a quarter of the test images.
NOISE = 0.2
CONTRAST = (0.15, 0.85)

Array = NDArray[Any]  # float32


class _Random:
    """Uniform numbers from Philox's raw output, which no version of numpy changes."""

    def __init__(self, split: str) -> None:
        self._bits = np.random.Philox(key=[2019, {"train": 0, "test": 1}[split]])

    def uniform(self, low: float, high: float, *shape: int) -> Array:
        raw = np.asarray(self._bits.random_raw(int(np.prod(shape)))).reshape(shape)
        return ((raw >> np.uint64(40)).astype(np.float32) * np.float32((high - low) / 2**24)) + np.float32(low)

    def noise(self, *shape: int) -> Array:
        """Mean 0, deviation 1, bell-shaped: four random bytes summed."""
        count = int(np.prod(shape))
        raw = np.asarray(self._bits.random_raw((count + 1) // 2)).view(np.uint8).reshape(-1, 4)[:count]
        total = raw.sum(1, dtype=np.int32).astype(np.float32) - np.float32(510)
        return (total / np.float32(147.8)).reshape(shape)  # sqrt(4 (256^2 - 1) / 12)


# Each shape: how far (x, y) lies outside it (inside: negative), in units of its radius.


def _disc(x: Array, y: Array) -> Array:
    return np.hypot(x, y) - 0.9


def _ring(x: Array, y: Array) -> Array:
    return np.abs(np.hypot(x, y) - 0.72) - 0.2


def _square(x: Array, y: Array) -> Array:
    return np.maximum(np.abs(x), np.abs(y)) - 0.78


def _frame(x: Array, y: Array) -> Array:
    return np.abs(np.maximum(np.abs(x), np.abs(y)) - 0.64) - 0.18


def _triangle(x: Array, y: Array) -> Array:
    return np.maximum(0.866 * np.abs(x) - 0.5 * y, y) - 0.48


def _plus(x: Array, y: Array) -> Array:
    a, b = np.abs(x), np.abs(y)
    return np.minimum(np.maximum(a - 0.27, b - 0.95), np.maximum(b - 0.27, a - 0.95))


def _cross(x: Array, y: Array) -> Array:
    return _plus((x + y) * np.float32(0.7071), (x - y) * np.float32(0.7071))


def _crescent(x: Array, y: Array) -> Array:
    return np.maximum(np.hypot(x, y) - 0.92, 0.72 - np.hypot(x - 0.42, y))


def _star(x: Array, y: Array) -> Array:
    radius, angle = np.hypot(x, y), np.arctan2(x, y)
    return radius - (0.66 + 0.34 * np.cos(5 * angle))


def _corner(x: Array, y: Array) -> Array:
    return np.maximum(np.maximum(np.abs(x), np.abs(y)) - 0.8, np.minimum(x, y) + 0.25)


_SHAPES: tuple[Callable[[Array, Array], Array], ...] = (
    _disc, _ring, _square, _frame, _triangle, _plus, _cross, _crescent, _star, _corner,
)  # fmt: skip


def synthetic(split: str) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """The `train` or `test` part: images (2000, 3, 32, 32) and labels (2000,), classes taking turns."""
    random = _Random(split)
    n = PER_CLASS * len(CLASSES)
    labels = np.arange(n) % len(CLASSES)
    images = _background(random, n)
    for _ in range(2):
        _add(images, _strokes(random, n), _colours(random, n), random.uniform(0.3, 0.9, n))
    cover = _cover(random, labels)
    texture = 1 + 0.2 * _waves(random, n)
    _add(images, cover, _foreground(random, images, cover), np.ones(n, np.float32), texture)
    _add(images, _strokes(random, n), _colours(random, n), random.uniform(0.0, 0.8, n))
    images += random.uniform(0.02, NOISE, n)[:, None, None, None] * random.noise(n, 3, SIZE, SIZE)
    return (np.clip(images, 0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8), labels


def _grid(n: int) -> tuple[Array, Array]:
    line = np.arange(SIZE, dtype=np.float32) - np.float32((SIZE - 1) / 2)
    return np.broadcast_to(line, (n, SIZE, SIZE)), np.broadcast_to(line[:, None], (n, SIZE, SIZE))


def _column(values: Array) -> Array:
    return values[:, None, None]


def _placed(random: _Random, n: int, radius: Array, reach: float, turn: float) -> tuple[Array, Array]:
    """Coordinates of every pixel in the frame of a shape: moved, turned, and divided by its radius."""
    x, y = _grid(n)
    x = x - _column(random.uniform(-reach, reach, n))
    y = y - _column(random.uniform(-reach, reach, n))
    angle = _column(random.uniform(-turn, turn, n))
    cos, sin = np.cos(angle) / _column(radius), np.sin(angle) / _column(radius)
    return x * cos + y * sin, y * cos - x * sin


def _soft(outside: Array, radius: Array) -> Array:
    """How much of a pixel the shape covers: edges one pixel wide."""
    return np.clip(np.float32(0.5) - outside * _column(radius), 0, 1)


def _cover(random: _Random, labels: NDArray[Any]) -> Array:
    """(n, 32, 32): what the shape of each image covers, mirrored at random."""
    n = len(labels)
    radius = random.uniform(5.5, 9.5, n)
    x, y = _placed(random, n, radius, 5, 0.4)
    x = x * _column(np.where(random.uniform(0, 1, n) < 0.5, -1, 1).astype(np.float32))
    x = x * _column(random.uniform(0.85, 1.2, n))
    outside = np.empty((n, SIZE, SIZE), np.float32)
    for label, shape in enumerate(_SHAPES):
        of_class = labels == label
        outside[of_class] = shape(x[of_class], y[of_class])
    return _soft(outside, radius)


def _strokes(random: _Random, n: int) -> Array:
    """(n, 32, 32): one straight or bent bar in each image, clutter of the width of the shapes' parts."""
    radius = random.uniform(3.0, 9.0, n)
    x, y = _placed(random, n, radius, 15.0, 3.1416)
    x = x + _column(random.uniform(-0.6, 0.6, n)) * y * y
    half = _column(random.uniform(0.12, 0.32, n))
    return _soft(np.maximum(np.abs(x) - half, np.abs(y) - 1), radius)


def _waves(random: _Random, n: int) -> Array:
    """(n, 32, 32): stripes of random direction and width, -1 to 1."""
    x, y = _grid(n)
    along, across = (_column(random.uniform(-0.9, 0.9, n)) for _ in range(2))
    return np.sin(x * along + y * across + _column(random.uniform(0, 6.2832, n)))


def _colours(random: _Random, n: int) -> Array:
    return random.uniform(0.05, 0.45, n, 3)


def _background(random: _Random, n: int) -> Array:
    """(n, 3, 32, 32): two colours that flow into each other."""
    mix = (0.5 + 0.5 * _waves(random, n) * _column(random.uniform(0, 0.6, n)))[:, None]
    first, second = (_colours(random, n)[:, :, None, None] for _ in range(2))
    return first * mix + (first * np.float32(0.5) + second * np.float32(0.5)) * (1 - mix)


def _foreground(random: _Random, images: Array, cover: Array) -> Array:
    """(n, 3): a colour of any hue that is brighter than what it covers, by much or by little."""
    n = len(images)
    weight = cover / (cover.sum((1, 2), keepdims=True) + np.float32(1e-3))
    behind = np.einsum("nchw,nhw->nc", images, weight)
    away = np.abs(_colours(random, n) - behind)
    length = np.sqrt((away * away).sum(1, keepdims=True)) + np.float32(1e-3)
    return behind + away / length * random.uniform(*CONTRAST, n, 1)


def _add(images: Array, cover: Array, colours: Array, strength: Array, texture: Any = 1.0) -> None:
    """Paint `colours` (n, 3) over the images where `cover` says."""
    alpha = (cover * _column(strength))[:, None]
    paint = colours[:, :, None, None] * (texture[:, None] if isinstance(texture, np.ndarray) else 1)
    images += alpha * (paint - images)
