"""How one picture is varied, drawn or not, and the geometry of its rotation. It reads no pixel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdcaffe import proto

Size = tuple[int, int]  # height and width, in pixels
Floats = NDArray[Any]

DRAWS = 12  # numbers from 0 to 1 that one picture takes
_LEAST_ANGLE = float(np.finfo(np.float32).eps)  # degrees
_LEAST_FADED = 1 - 1 / 255


@dataclass(frozen=True)
class Augmentation:
    """In this order: hue turned by degrees, saturation multiplied; mirrored, resized, rotated by degrees, cut out.

    `offset` is the first row and column that the cut shows.
    """

    scaled: Size
    hue: float = 0.0
    saturation: float = 1.0
    flip: bool = False
    rotation: float = 0.0
    offset: tuple[int, int] = (0, 0)

    @property
    def turns_hue(self) -> bool:
        return abs(self.hue) > _LEAST_ANGLE

    @property
    def fades(self) -> bool:
        return self.saturation < _LEAST_FADED

    @property
    def rotates(self) -> bool:
        return abs(self.rotation) > _LEAST_ANGLE


def drawn(
    param: proto.DetectNetAugmentationParameter, picture: Size, seen: Size, draws: Sequence[float]
) -> Augmentation:
    """What numbers from 0 to 1, 12 of them, make of a picture of which `seen` is cut."""
    colours, shape, place = draws[:4], draws[4:9], draws[9:]
    hue, saturation, rotation, scaled = 0.0, 1.0, 0.0, picture
    if colours[0] < param.hue_rotation_prob:
        hue = max(min((colours[1] - 0.5) * 2 * param.hue_rotation, 180.0), -180.0)
    if colours[2] < param.desaturation_prob:
        saturation = 1 - colours[3] * param.desaturation_max
    if shape[1] < param.scale_prob:
        factor = param.scale_min + (param.scale_max - param.scale_min) * shape[2]
        scaled = scaled_size(picture, factor)
    if shape[3] < param.rotation_prob:
        rotation = float(np.float32((shape[4] - 0.5) * 2 * param.max_rotate_degree))
    whole = Augmentation(scaled, hue, saturation, shape[0] < param.flip_prob, rotation)
    size = rotated_size(scaled, rotation) if whole.rotates else scaled
    shifts, parts = (0, 0), (0.5, 0.5)
    if place[0] < param.crop_prob:
        shifts, parts = (param.shift_y, param.shift_x), (place[2], place[1])
    top, left = (
        rounded(part * (have - want + shift) - shift // 2)
        for part, have, want, shift in zip(parts, size, seen, shifts, strict=True)
    )
    return replace(whole, offset=(top, left))


def rounded(value: float) -> int:
    """The nearest whole number; half of one goes away from 0."""
    return int(math.copysign(math.floor(abs(value) + 0.5), value))


def scaled_size(picture: Size, factor: float) -> Size:
    return rounded(picture[0] * factor), rounded(picture[1] * factor)


def rotated_size(size: Size, degrees: float) -> Size:
    """Height and width of what holds a rotated picture: those of OpenCV's bounding rectangle, a pixel or two larger."""
    height, width = size
    middle = np.array([width // 2, height // 2], np.float32)
    (left, top), (right, bottom) = _bounds(_corners(middle, size, degrees))
    return bottom - top + 1, right - left + 1


def rotation_matrix(size: Size, degrees: float) -> Floats:
    """Takes (x, y, 1) of a picture to (x, y) in the rotated one: (2, 3), in float32 as the fork's."""
    height, width = size
    middle = np.array([width / 2, height / 2], np.float32)
    (left, top), _ = _bounds(_corners(middle, size, degrees))
    below, corner, right, _ = _corners(middle - np.array([left, top], np.float32), size, degrees).astype(np.float64)
    return np.stack([(right - corner) / width, (below - corner) / height, corner], 1).astype(np.float32)


def _corners(middle: Floats, size: Size, degrees: float) -> Floats:
    """(x, y) of the corners below left, above left, above right and below right, clockwise by `degrees`: (4, 2).

    In float32, as OpenCV's RotatedRect: its bounds are whole numbers, which hang on the rounding.
    """
    angle = degrees * math.pi / 180
    cos, sin = (np.float32(part) * np.float32(0.5) for part in (math.cos(angle), math.sin(angle)))
    height, width = (np.float32(side) for side in size)
    below = middle + np.array([-sin * height - cos * width, cos * height - sin * width], np.float32)
    above = middle + np.array([sin * height - cos * width, -cos * height - sin * width], np.float32)
    return np.stack([below, above, 2 * middle - below, 2 * middle - above])


def _bounds(corners: Floats) -> tuple[tuple[int, int], tuple[int, int]]:
    """(left, top) and (right, bottom), both part of it."""
    low, high = np.floor(corners.min(0)), np.ceil(corners.max(0))
    return (int(low[0]), int(low[1])), (int(high[0]), int(high[1]))
