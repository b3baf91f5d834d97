"""What noise_param does to a byte image (C, H, W), in SSD's order. Its `prob` is not looked at, as in the fork."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdcaffe import proto
from sdcaffe.converters.encode import encode_image
from sdcaffe.data.jpeg import decode_image
from sdcaffe.forks.ssd import colours
from sdcaffe.forks.ssd.dice import Dice

Image = NDArray[np.uint8]

_BLUR = np.array([9, 29, 55, 70, 55, 29, 9], np.int32)  # a Gaussian of deviation 1.5 in 8 bits
_CLIP, _TILES = 4.0, 8  # of local equalisation
_STEP = 64  # of posterised values


def noised(image: Image, param: proto.NoiseParameter, dice: Dice, where: str) -> Image:
    """The image with the noise of a NoiseParameter, as weiliu89/caffe@4817bf8 makes it with OpenCV.

    Raises ValueError for what needs three colours, and for values of saltpepper that are not one a channel.
    """
    for field in ("decolorize", "convert_to_hsv"):
        if len(image) != 3 and getattr(param, field):
            raise ValueError(f"is not in three colours, as noise_param's {field} needs; set force_color")
    if len(image) != 3 and param.jpeg > 0:
        raise ValueError("is not in three colours, as noise_param's jpeg gives them; set force_color")
    if param.decolorize:
        image = np.repeat(colours.gray(image), 3, 0)
    if param.gauss_blur:
        image = _blurred(image)
    if param.hist_eq:
        image = _of_luminance(image, _equalized)
    if param.clahe:
        image = _of_luminance(image, _locally_equalized)
    if param.jpeg > 0:
        image = decode_image(encode_image(image, "jpg", int(param.jpeg)), "color", where)
    if param.erode:
        image = _eroded(image)
    if param.posterize:
        image = image // _STEP * _STEP + _STEP // 2
    if param.inverse:
        image = 255 - image
    if param.saltpepper:
        image = _salted(image, param.saltpepper_param, dice)
    if param.convert_to_hsv:
        image = colours.to_hsv(image)
    return image


def _blurred(image: Image) -> Image:
    """A Gaussian blur of 7 by 7 pixels, mirrored at the edges."""
    for axis in (2, 1):
        wide = np.pad(image.astype(np.int32), [(0, 0), *((3, 3) if a == axis else (0, 0) for a in (1, 2))], "reflect")
        size = image.shape[axis]
        image = sum(weight * np.take(wide, range(i, i + size), axis) for i, weight in enumerate(_BLUR))
    return ((image + (1 << 15)) >> 16).astype(np.uint8)


def _of_luminance(image: Image, change: Any) -> Image:
    """`change` made to a gray image, or to the luminance of one in colours."""
    if len(image) == 1:
        return change(image[0])[None]
    planes = colours.to_ycrcb(image)
    planes[0] = change(planes[0])
    return colours.from_ycrcb(planes)


def _equalized(plane: Image) -> Image:
    """Values spread so that each range of them has as many pixels (cv::equalizeHist)."""
    counts = np.bincount(plane.ravel(), minlength=256)
    first = int(np.flatnonzero(counts)[0])
    rest = plane.size - counts[first]
    if not rest:
        return plane
    counts[first] = 0
    table = np.rint(np.cumsum(counts).astype(np.float32) * (np.float32(255) / np.float32(rest)))
    return table.clip(0, 255).astype(np.uint8)[plane]


def _locally_equalized(plane: Image) -> Image:
    """Each of 8 by 8 tiles equalised to a limit, and blended between their middles (cv::CLAHE with clip limit 4)."""
    height, width = plane.shape
    whole = plane
    if height % _TILES or width % _TILES:
        whole = np.pad(plane, ((0, _TILES - height % _TILES), (0, _TILES - width % _TILES)), "reflect")
    tall, wide = whole.shape[0] // _TILES, whole.shape[1] // _TILES
    tiles = whole.reshape(_TILES, tall, _TILES, wide).transpose(0, 2, 1, 3).reshape(_TILES * _TILES, -1)
    tables = np.stack([_limited_table(tile) for tile in tiles]).reshape(_TILES, _TILES, 256).astype(np.float32)
    up, down, y = _between(height, tall)
    left, right, x = _between(width, wide)
    up, down, y = up[:, None], down[:, None], y[:, None]
    upper = tables[up, left, plane] * (1 - x) + tables[up, right, plane] * x
    lower = tables[down, left, plane] * (1 - x) + tables[down, right, plane] * x
    return np.rint(upper * (1 - y) + lower * y).clip(0, 255).astype(np.uint8)


def _limited_table(tile: Image) -> Image:
    """What becomes of each value in a tile: equalised, what is over the limit given to all values alike."""
    counts = np.bincount(tile, minlength=256)
    limit = max(int(_CLIP * tile.size / 256), 1)
    over = int((counts - limit).clip(min=0).sum())
    counts = counts.clip(max=limit) + over // 256
    left = over % 256
    if left:
        counts[np.arange(0, 256, max(256 // left, 1))[:left]] += 1
    return np.rint(np.cumsum(counts).astype(np.float32) * np.float32(255 / tile.size)).clip(0, 255).astype(np.uint8)


def _between(size: int, tile: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Of each pixel of a side the tiles before and after it, and how far it is on the way."""
    place = np.arange(size, dtype=np.float32) * np.float32(1 / np.float32(tile)) - np.float32(0.5)
    first = np.floor(place).astype(np.int64)
    return first.clip(min=0), (first + 1).clip(max=_TILES - 1), place - first.astype(np.float32)


def _eroded(image: Image) -> Image:
    """The least of each pixel and its four neighbours."""
    wide = np.pad(image, ((0, 0), (1, 1), (1, 1)), constant_values=255)
    height, width = image.shape[1:]
    around = [wide[:, y : y + height, x : x + width] for y, x in ((1, 1), (0, 1), (2, 1), (1, 0), (1, 2))]
    return np.minimum.reduce(around)


def _salted(image: Image, param: proto.SaltPepperParameter, dice: Dice) -> Image:
    """A `fraction` of the pixels, drawn with repetition, set to `value`."""
    height, width = image.shape[1:]
    count = int(np.floor(np.float32(param.fraction) * width * height))
    values = np.array(list(param.value), np.float32).astype(np.uint8)
    if len(values) not in (0, 1, len(image)):
        raise ValueError(f"{len(values)} values of saltpepper_param for {len(image)} channels; give one, or one each")
    if count < 1:
        return image
    image = image.copy()
    places = np.array([(dice.below(height), dice.below(width)) for _ in range(count)])
    image[:, places[:, 0], places[:, 1]] = np.resize(values, len(image))[:, None]
    return image
