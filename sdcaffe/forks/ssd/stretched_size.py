"""NVIDIA's sizes that are drawn: img_rand_resize, rand_resize_ratio, vertical_stretch and horizontal_stretch.

From NVIDIA/caffe@87a2554. They hold in training and in testing.
"""

from __future__ import annotations

import enum
import math
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from sdcaffe import proto
from sdcaffe.data.source import Image
from sdcaffe.forks.ssd import interpolation, settings
from sdcaffe.forks.ssd.dice import Dice
from sdcaffe.forks.ssd.messages import ResizeParameter

Mode = ResizeParameter.Interp_mode


class InterpolationAlgo(enum.IntEnum):
    INTER_NEAREST = 0
    INTER_LINEAR = 1
    INTER_CUBIC = 2
    INTER_AREA = 3


_MODES = (Mode.NEAREST, Mode.LINEAR, Mode.CUBIC, Mode.AREA)


class StretchedSizes:
    """What NVIDIA's Caffe adds to TransformationParameter; its numbers 10 to 16 and 19 are SSD's and Intel's."""

    img_rand_resize_lower: Annotated[int, 1010] = 0
    img_rand_resize_upper: Annotated[int, 1011] = 0
    rand_resize_ratio_lower: Annotated[float, 1012] = 0.0
    rand_resize_ratio_upper: Annotated[float, 1013] = 0.0
    vertical_stretch_lower: Annotated[float, 1014] = 1.0
    vertical_stretch_upper: Annotated[float, 1015] = 1.0
    horizontal_stretch_lower: Annotated[float, 1016] = 1.0
    horizontal_stretch_upper: Annotated[float, 17] = 1.0
    interpolation_algo_down: Annotated[InterpolationAlgo, 18] = InterpolationAlgo.INTER_NEAREST
    interpolation_algo_up: Annotated[InterpolationAlgo, 1019] = InterpolationAlgo.INTER_CUBIC
    allow_upscale: Annotated[bool, 20] = False


proto.schema.extend("TransformationParameter", StretchedSizes)

RANGES = ("img_rand_resize", "rand_resize_ratio", "vertical_stretch", "horizontal_stretch")
FIELDS = tuple(f"{name}_{end}" for name in RANGES for end in ("lower", "upper"))


class StretchedSize:
    """What a TransformationParameter says of a size that is drawn.

    The shorter side has img_rand_resize_lower to _upper pixels, both of which must be given; then the longer one is the
    shorter times a ratio, where rand_resize_ratio_lower is 1 or more and _upper above 1; then height and width are
    multiplied by the stretches. Neither falls below crop_size, nor, without allow_upscale, rises above the picture's.
    Raises ValueError for settings that cannot be.
    """

    def __init__(self, param: proto.TransformationParameter) -> None:
        self.param, self.crop = param, param.crop_size
        self.asked = any(param.HasField(field) for field in FIELDS)
        if not self.asked:
            return
        if not self.crop:
            raise ValueError("img_rand_resize, rand_resize_ratio and the stretches need a crop_size")
        for name in RANGES:
            low, high = self._range(name)
            if not (np.isfinite((low, high)).all() and low >= 0 and high >= 0):
                raise ValueError(f"{name}_lower {low:g} and _upper {high:g} must be 0 or more")
        low, high = self._range("img_rand_resize")
        if low and high and low > high:
            raise ValueError(f"img_rand_resize: {low} to {high} pixels are none")

    def _range(self, name: str) -> tuple[float, float]:
        return getattr(self.param, f"{name}_lower"), getattr(self.param, f"{name}_upper")

    @property
    def draws(self) -> bool:
        """Whether chance has a part in it."""
        ratio = self._range("rand_resize_ratio")
        return self.asked and (
            any(low != high for low, high in map(self._range, RANGES)) or (ratio[0] >= 1 and ratio[1] > 1)
        )

    def size(self, high: int, wide: int, dice: Dice) -> tuple[int, int]:
        """The height and the width that a picture of `high` by `wide` pixels gets. Raises ValueError for too many."""
        shorter = min(high, wide)
        low, most = self.param.img_rand_resize_lower, self.param.img_rand_resize_upper
        if low and most:
            shorter = low + dice.below(most - low + 1)
        scale = np.float32(shorter) / np.float32(min(high, wide))
        height, width = scale * np.float32(high), scale * np.float32(wide)
        lower, upper = self._range("rand_resize_ratio")
        if lower >= 1 and upper > 1:
            ratio = np.float32(dice.uniform(lower, upper))
            if width > height or (width == height and dice.below(2)):
                width = height * ratio
            else:
                height = width * ratio
        found = []
        for side, name, own in ((height, "vertical", high), (width, "horizontal", wide)):
            lower, upper = self._range(f"{name}_stretch")
            if lower > 0 and upper > 0:
                side = side * np.float32(dice.uniform(lower, upper))
            pixels = max(self.crop, math.floor(float(side) + 0.5))
            found.append(pixels if self.param.allow_upscale else min(pixels, own))
        settings.check_size("the picture of a drawn size", found[0], found[1])
        return found[0], found[1]

    def __call__(self, pixels: NDArray[np.uint8], dice: Dice) -> Image:
        """The picture (C, h, w), bytes, made of another size."""
        high, wide = pixels.shape[1:]
        height, width = self.size(high, wide, dice)
        smaller = height <= high and width <= wide
        algorithm = self.param.interpolation_algo_down if smaller else self.param.interpolation_algo_up
        return interpolation.resized(pixels, height, width, _MODES[algorithm])
