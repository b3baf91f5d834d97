"""Byte images in other colour spaces and back, computed as OpenCV does: (3, H, W), channels blue, green, red."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Ints = NDArray[np.int32]

_GRAY = np.array([3735, 19235, 9798], np.int32)  # blue, green, red in 15 bits
_HSV_BITS, _YCRCB_BITS = 12, 14
_DIVIDED_255 = np.rint(np.append(0, (255 << _HSV_BITS) / np.arange(1, 256))).astype(np.int32)
_DIVIDED_180 = np.rint(np.append(0, (180 << _HSV_BITS) / (6.0 * np.arange(1, 256)))).astype(np.int32)
# Of each sixth of the hues, which of `from_hsv`'s four numbers blue, green and red are.
SECTORS = np.array([[1, 3, 0], [1, 0, 2], [3, 0, 1], [0, 2, 1], [0, 1, 3], [2, 1, 0]])


def scaled(values: Image, by: float, plus: float) -> Image:
    """values * by + plus, rounded and cut to bytes."""
    return np.rint(values.astype(np.float32) * np.float32(by) + np.float32(plus)).clip(0, 255).astype(np.uint8)


def gray(image: Image) -> Image:
    """The luminance, (1, H, W)."""
    total = np.tensordot(_GRAY, image.astype(np.int32), 1)
    return ((total + (1 << 14)) >> 15).astype(np.uint8)[None]


def to_hsv(image: Image) -> Image:
    """Hue 0 to 179, saturation, value."""
    blue, green, red = image.astype(np.int32)
    value = np.maximum(np.maximum(blue, green), red)
    spread = value - np.minimum(np.minimum(blue, green), red)
    saturation = (spread * _DIVIDED_255[value] + (1 << _HSV_BITS - 1)) >> _HSV_BITS
    hue = np.where(
        value == red,
        green - blue,
        np.where(value == green, blue - red + 2 * spread, red - green + 4 * spread),
    )
    hue = (hue * _DIVIDED_180[spread] + (1 << _HSV_BITS - 1)) >> _HSV_BITS
    return np.stack([np.where(hue < 0, hue + 180, hue), saturation, value]).astype(np.uint8)


def from_hsv(image: Image) -> Image:
    """Back from `to_hsv`, cut to bytes, not rounded, as OpenCV's vector code does; hues beyond 179 go round again."""
    unit = np.float32(1 / 255)
    hue, saturation, value = image[0] * np.float32(6 / 180), image[1] * unit, image[2] * unit
    sector = np.floor(hue)
    part = hue - sector
    one = np.float32(1)
    table = np.stack(
        [
            value,
            value * (one - saturation),
            value * (one - saturation * part),
            value * (one - saturation * (one - part)),
        ]
    )
    places = np.moveaxis(SECTORS[sector.astype(np.int64) % 6], -1, 0)
    found = np.take_along_axis(table, places, 0)
    return (found * np.float32(255)).astype(np.uint8)


def to_ycrcb(image: Image) -> Image:
    """Luminance and the two differences of colour, around 128."""
    blue, green, red = image.astype(np.int32)
    half = 1 << _YCRCB_BITS - 1
    luminance = (blue * 1868 + green * 9617 + red * 4899 + half) >> _YCRCB_BITS
    middle = (128 << _YCRCB_BITS) + half
    red_difference = ((red - luminance) * 11682 + middle) >> _YCRCB_BITS
    blue_difference = ((blue - luminance) * 9241 + middle) >> _YCRCB_BITS
    return np.stack([luminance, red_difference, blue_difference]).clip(0, 255).astype(np.uint8)


def from_ycrcb(image: Image) -> Image:
    """Back from `to_ycrcb`."""
    luminance = image[0].astype(np.int32)
    red, blue = image[1].astype(np.int32) - 128, image[2].astype(np.int32) - 128
    half = 1 << _YCRCB_BITS - 1
    planes = [
        luminance + ((blue * 29049 + half) >> _YCRCB_BITS),
        luminance + ((blue * -5636 + red * -11698 + half) >> _YCRCB_BITS),
        luminance + ((red * 22987 + half) >> _YCRCB_BITS),
    ]
    return np.stack(planes).clip(0, 255).astype(np.uint8)
