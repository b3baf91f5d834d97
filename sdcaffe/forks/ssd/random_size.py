"""Intel's random_resize_param and random_aspect_ratio_param: a picture of a size, or a part of it, that is drawn.

From intel/caffe@44d5363. Both hold in training and in testing; what is drawn there as here is a whole number of pixels
or a thousandth of a ratio.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from sdcaffe import proto
from sdcaffe.data.source import Image
from sdcaffe.forks.ssd.dice import Dice
from sdcaffe.forks.ssd.messages import ResizeParameter
from sdcaffe.forks.ssd.stretched_size import StretchedSize

Pixels = NDArray[np.uint8]
Resize = Callable[[Pixels, "proto.ResizeParameter", Dice], Image]

_THOUSAND = np.float32(1000)


class RandomResizeParameter:
    min_size: int = 0
    max_size: int = 0
    resize_param: ResizeParameter


class RandomAspectRatioParameter:
    min_area_ratio: float = 0.5
    max_area_ratio: float = 1.0
    aspect_ratio_change: float = 1.0
    max_attempt: int = 10
    resize_param: ResizeParameter


class RandomSizes:
    """What Intel's Caffe adds to TransformationParameter."""

    random_resize_param: Annotated[RandomResizeParameter, 15]
    random_aspect_ratio_param: Annotated[RandomAspectRatioParameter, 16]


proto.schema.extend("TransformationParameter", RandomSizes)


class RandomSize:
    """What a TransformationParameter says of drawn sizes: random_resize_param before random_aspect_ratio_param.

    Without either, NVIDIA's; see StretchedSize.

    `resize` makes a picture of the size that a ResizeParameter has. Raises ValueError for settings that cannot be.
    """

    def __init__(self, param: proto.TransformationParameter, resize: Resize) -> None:
        self._resize = resize
        self.crop = param.crop_size
        self.stretched = StretchedSize(param)
        self.sizes = param.random_resize_param if param.HasField("random_resize_param") else None
        self.ratios = param.random_aspect_ratio_param if param.HasField("random_aspect_ratio_param") else None
        sizes, ratios = self.sizes, self.ratios
        if (sizes or ratios) and not self.crop:
            raise ValueError("random_resize_param and random_aspect_ratio_param need a crop_size")
        if sizes and sizes.min_size and sizes.max_size and sizes.min_size > sizes.max_size:
            raise ValueError(f"random_resize_param: {sizes.min_size} to {sizes.max_size} pixels are none")
        if ratios and not 0 < ratios.min_area_ratio <= ratios.max_area_ratio <= 1:
            low, high = ratios.min_area_ratio, ratios.max_area_ratio
            raise ValueError(f"random_aspect_ratio_param: areas from {low:g} to {high:g} of the picture cannot be")
        if ratios and not 0 < ratios.aspect_ratio_change <= 1:
            raise ValueError(f"aspect_ratio_change must be above 0 and at most 1, not {ratios.aspect_ratio_change:g}")

    @functools.cached_property
    def asked(self) -> bool:
        """Whether anything is said."""
        return bool(self.sizes or self.ratios or self.stretched.asked)

    @property
    def draws(self) -> bool:
        """Whether chance has a part in it."""
        sizes = self.sizes
        return bool(self.ratios or (sizes and not (sizes.min_size == sizes.max_size > 0)) or self.stretched.draws)

    def __call__(self, pixels: Pixels, dice: Dice) -> Image:
        """The picture (C, h, w), bytes, made of another size; as it is where nothing is said."""
        height, width = pixels.shape[1:]
        if self.sizes:
            low, high = self.sizes.min_size or min(height, width), self.sizes.max_size or max(height, width)
            return self._shorter(pixels, low + dice.below(max(high - low, 0) + 1), self.sizes.resize_param, dice)
        if self.ratios:
            return self._part(pixels, self.ratios, dice)
        return self.stretched(pixels, dice) if self.stretched.asked else pixels

    def _shorter(self, pixels: Pixels, size: int, resize: Any, dice: Dice) -> Image:
        """The picture with `size` pixels on its shorter side."""
        height, width = (np.float32(n) for n in pixels.shape[1:])
        if height < width:
            return self._sized(pixels, size, int(width / height * np.float32(size)), resize, dice)
        return self._sized(pixels, int(height / width * np.float32(size)), size, resize, dice)

    def _sized(self, pixels: Pixels, height: int, width: int, resize: Any, dice: Dice) -> Image:
        wanted = type(resize)()
        wanted.CopyFrom(resize)
        wanted.height, wanted.width = height, width
        return self._resize(pixels, wanted, dice)

    def _part(self, pixels: Pixels, param: Any, dice: Dice) -> Image:
        """A part of the picture of a drawn area and shape, as a square; where none fits, the whole picture."""
        high, wide = pixels.shape[1:]
        change = np.float32(param.aspect_ratio_change)
        for _ in range(param.max_attempt):
            area = _drawn(np.float32(param.min_area_ratio), np.float32(param.max_area_ratio), dice)
            stretch = _drawn(change, 1 / change, dice)
            side = np.sqrt(area * np.float32(high * wide))
            height, width = int(side * stretch), int(side / stretch)
            if _drawn(np.float32(0), np.float32(1), dice) < 0.5:
                height, width = width, height
            if 0 < height <= high and 0 < width <= wide:
                top, left = dice.below(high - height + 1), dice.below(wide - width + 1)
                part = np.ascontiguousarray(pixels[:, top : top + height, left : left + width])
                return self._sized(part, self.crop, self.crop, param.resize_param, dice)
        return self._shorter(pixels, self.crop, param.resize_param, dice)


def _drawn(low: np.float32, high: np.float32, dice: Dice) -> np.float32:
    """A number from `low` on, in steps of a thousandth."""
    steps = int((high - low) * _THOUSAND + np.float32(1))
    return (np.float32(dice.below(steps)) + low * _THOUSAND) / _THOUSAND
