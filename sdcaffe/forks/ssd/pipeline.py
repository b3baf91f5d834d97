"""One record of a database made a picture of the net's size and its boxes, as SSD's transform_param says.

The order is the fork's (weiliu89/caffe@4817bf8): distort, expand, crop to a drawn window, resize, noise, crop,
mirror. Each of the first three writes a picture that came encoded as JPEG again, and goes on with what that holds.
Intel's pad comes last.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdcaffe import proto
from sdcaffe.converters.encode import encode_image
from sdcaffe.data.jpeg import decode_image
from sdcaffe.data.source import Image
from sdcaffe.errors import DataError
from sdcaffe.forks.ssd import border, distortion, geometry, interpolation, noise, sampler, settings
from sdcaffe.forks.ssd.dice import Dice
from sdcaffe.forks.ssd.geometry import WHOLE, Boxes, Labelled
from sdcaffe.forks.ssd.messages import ResizeParameter
from sdcaffe.forks.ssd.picture import Picture
from sdcaffe.forks.ssd.random_size import RandomSize

Mode = ResizeParameter.Resize_mode

_RAW_FILL = 32  # what the fork has around an expanded picture that did not come encoded


@dataclass(frozen=True)
class Cropped:
    """What the net sees of a picture of resize_param's size: its pixels (C, h, w), where they are in it (fractions),
    and whether they are mirrored. A border is of the pixels alone."""

    pixels: Image
    window: Boxes
    mirrored: bool


class Pipeline:
    """What transform_param and batch_sampler do to a picture. Raises ValueError for settings that cannot be."""

    def __init__(
        self,
        param: proto.TransformationParameter,
        samplers: Iterable[proto.BatchSampler],
        phase: int,
        jitter: float = 0,
    ) -> None:
        self.param, self.samplers, self.jitter = param, list(samplers), jitter
        settings.check(param)
        border.check(param)
        sampler.check(self.samplers)
        if not 0 <= jitter < 1:
            raise ValueError(f"yolo_data_jitter must be from 0 to below 1, not {jitter:g}")
        self.resize = param.resize_param[0] if param.resize_param else None
        self.noise = param.noise_param if param.HasField("noise_param") else None
        self.distort = param.distort_param if param.HasField("distort_param") else None
        self.expand = param.expand_param if param.HasField("expand_param") else None
        self.emit = param.emit_constraint if param.HasField("emit_constraint") else None
        self.crop = (param.crop_size,) * 2 if param.crop_size else (param.crop_h, param.crop_w)
        self.random_crop = phase == proto.TRAIN and all(self.crop)
        self.color = "color" if param.force_color else "gray" if param.force_gray else "native"
        self.random_size = RandomSize(param, self._resized)
        self._told: set[str] = set()

    @functools.cached_property
    def draws_before_crop(self) -> bool:
        """Whether chance has a part in what `prepared` gives: it may then not be kept for the next time."""
        salted = self.noise is not None and self.noise.saltpepper
        sizes = self.random_size.sizes
        drawn = self.random_size.draws or any(map(_several_modes, (self.resize, sizes and sizes.resize_param)))
        return bool(self.distort or self.expand or self.samplers or self.jitter or salted or drawn)

    @functools.cached_property
    def draws_crop(self) -> bool:
        """Whether chance has a part in what `cropped` makes of it."""
        return bool(self.random_crop or self.param.mirror)

    def of_batch(self, k: int, seed: int) -> Pipeline:
        """What batch `k` goes through."""
        return self

    def size(self, channels: int, height: int, width: int) -> tuple[int, int, int]:
        """The size (C, h, w) of what becomes of a picture."""
        if all(self.crop):
            height, width = self.crop
        elif self.resize is not None:
            height, width = self._resized_size(self.resize, height, width)
        return channels, height + 2 * self.param.pad, width + 2 * self.param.pad

    def _resized_size(self, resize: Any, height: int, width: int) -> tuple[int, int]:
        if resize.resize_mode != Mode.FIT_SMALL_SIZE:
            return resize.height, resize.width
        aspect, wanted = np.float32(width) / np.float32(height), np.float32(resize.width) / np.float32(resize.height)
        if aspect < wanted:
            return int(np.float32(resize.width) / aspect), resize.width
        return resize.height, int(aspect * np.float32(resize.height))

    # ---------------------------------------------------------------- before the crop

    def prepared(self, picture: Picture, dice: Dice) -> Picture:
        """The picture distorted, expanded, seen through a drawn window, its pixels resized and with noise.

        Its boxes, height and width are still those before the resizing: `labelled` needs them. Raises DataError.
        """
        try:
            return self._prepared(picture, dice)
        except ValueError as error:
            raise DataError(str(error), picture.where) from None

    def _prepared(self, picture: Picture, dice: Dice) -> Picture:
        if self.distort is not None:
            picture = self._distorted(picture, dice)
        if self.expand is not None:
            picture = self._expanded(picture, self.expand, dice)
        if self.samplers:
            windows = sampler.windows(self.samplers, picture.labelled.boxes, dice)
            if windows:
                picture = self._window(picture, windows[dice.below(len(windows))].clip(0, 1))
        elif self.jitter:
            keeps = self.resize is not None and self.resize.resize_mode == Mode.FIT_LARGE_SIZE_AND_PAD
            picture = self._window(picture, sampler.jittered(self.jitter, keeps, dice).clip(0, 1))
        if not picture.encoded:
            return replace(picture, pixels=self._of_drawn_size(self._raw(picture), picture, dice))
        pixels = picture.pixels
        if self.resize is not None:
            pixels = self._resized(pixels.astype(np.uint8, copy=False), self.resize, dice)
        if self.noise is not None:
            pixels = noise.noised(pixels.astype(np.uint8, copy=False), self.noise, dice, picture.where)
        return replace(picture, pixels=self._of_drawn_size(pixels, picture, dice))

    def _of_drawn_size(self, pixels: Image, picture: Picture, dice: Dice) -> Image:
        if not self.random_size.asked:
            return pixels
        if pixels.dtype != np.uint8:
            raise DataError("holds floats; sizes that are drawn are for bytes", picture.where)
        return self.random_size(pixels.astype(np.uint8, copy=False), dice)

    def _raw(self, picture: Picture) -> Image:
        if self.resize is not None:
            raise DataError("holds pixels as they are; resize_param resizes encoded pictures only", picture.where)
        if self.noise is not None:
            self._tell("noise_param only for encoded pictures: it is passed over")
        return picture.pixels

    def _distorted(self, picture: Picture, dice: Dice) -> Picture:
        if not picture.encoded:
            self._tell("distort_param only for encoded pictures: it is passed over")
            return picture
        if len(picture.pixels) != 3:
            raise DataError("is not in three colours, as distort_param needs; set force_color", picture.where)
        pixels = picture.pixels.astype(np.uint8, copy=False)
        assert self.distort is not None
        return self._written(picture, distortion.distorted(pixels, self.distort, dice), picture.labelled)

    def _expanded(self, picture: Picture, expand: Any, dice: Dice) -> Picture:
        """The picture somewhere on a larger sheet of the mean colour."""
        if dice.uniform(0, 1) > expand.prob or expand.max_expand_ratio - 1 < 1e-2:
            return picture
        channels, high, wide = picture.pixels.shape
        ratio = np.float32(dice.uniform(1, expand.max_expand_ratio))
        height, width = int(np.float32(high) * ratio), int(np.float32(wide) * ratio)
        settings.check_size("the expanded picture", height, width)
        top, left = math.floor(dice.uniform(0, height - high)), math.floor(dice.uniform(0, width - wide))
        sheet = np.full((channels, height, width), _RAW_FILL, picture.pixels.dtype)
        if picture.encoded:
            values = np.array(list(self.param.mean_value) or [0], np.float32)
            sheet[:] = np.rint(np.resize(values, channels)).clip(0, 255)[:, None, None]
        sheet[:, top : top + high, left : left + wide] = picture.pixels
        place = np.array([-left, -top, width - left, height - top], np.float32) / np.array([wide, high] * 2, np.float32)
        return self._written(picture, sheet, geometry.seen_in(picture.labelled, place, self.emit))

    def _window(self, picture: Picture, window: Boxes) -> Picture:
        """The part of the picture in a window of fractions of it, of at least a pixel."""
        high, wide = picture.pixels.shape[1:]
        left, top, right, bottom = window * np.array([wide, high] * 2, np.float32)
        height, width = max(int(bottom - top), 1), max(int(right - left), 1)
        top, left = min(int(top), high - height), min(int(left), wide - width)
        part = picture.pixels[:, top : top + height, left : left + width]
        return self._written(picture, part, geometry.seen_in(picture.labelled, window, self.emit))

    def _written(self, picture: Picture, pixels: Image, labelled: Labelled) -> Picture:
        """The picture with other pixels and boxes; an encoded one as JPEG again, which changes pixels a little."""
        if picture.encoded:
            pixels = decode_image(encode_image(pixels.astype(np.uint8), "jpg"), self.color, picture.where)
        height, width = pixels.shape[1:]
        return replace(picture, pixels=pixels, labelled=labelled, height=height, width=width)

    def _resized(self, pixels: NDArray[np.uint8], resize: Any, dice: Dice) -> Image:
        modes = list(resize.interp_mode) or [ResizeParameter.Interp_mode.LINEAR]
        mode = modes[dice.below(len(modes))] if len(modes) > 1 else modes[0]
        if resize.resize_mode != Mode.FIT_LARGE_SIZE_AND_PAD:
            return interpolation.resized(pixels, *self._resized_size(resize, *pixels.shape[1:]), mode)
        aspect = np.float32(pixels.shape[2]) / np.float32(pixels.shape[1])
        height, width = resize.height, resize.width
        if aspect > np.float32(width) / np.float32(height):
            height = math.floor(np.float32(width) / aspect)
        else:
            width = math.floor(aspect * np.float32(height))
        if min(height, width) < 1:
            raise ValueError(
                f"a picture of {pixels.shape[2]} x {pixels.shape[1]} pixels vanishes in resize_param's size"
            )
        inside = interpolation.resized(pixels, height, width, mode)
        top, left = (resize.height - height) // 2, (resize.width - width) // 2
        values = np.array(list(resize.pad_value) or [0], np.float32)
        if len(values) not in (1, len(pixels)):
            raise ValueError(f"{len(values)} pad_value for {len(pixels)} channels; give one, or one a channel")
        return interpolation.bordered(
            inside,
            (top, resize.height - height - top),
            (left, resize.width - width - left),
            resize.pad_mode,
            np.resize(values, len(pixels)),
        )

    def _tell(self, message: str) -> None:
        if message not in self._told:
            self._told.add(message)
            logging.getLogger("sdcaffe").warning(message)

    # ---------------------------------------------------------------- the crop

    def cropped(self, picture: Picture, dice: Dice) -> Cropped:
        """The window of a prepared picture that is the net's input, mirrored by chance. Raises DataError."""
        pixels = picture.pixels
        high, wide = pixels.shape[1:]
        height, width = self.crop if all(self.crop) else (high, wide)
        if height > high or width > wide:
            raise DataError(f"is {wide} x {high} pixels, smaller than the crop of {width} x {height}", picture.where)
        top, left = (high - height) // 2, (wide - width) // 2
        if self.random_crop:
            top, left = dice.below(high - height + 1), dice.below(wide - width + 1)
        window = WHOLE
        if all(self.crop):
            window = np.array([left, top, left + width, top + height], np.float32)
            window /= np.array([wide, high] * 2, np.float32)
        mirror = self.param.mirror and dice.below(2) == 1
        part = pixels[:, top : top + height, left : left + width]
        if self.param.pad:
            part = self._bordered(part, picture)
        return Cropped(part[:, :, ::-1] if mirror else part, window, mirror)

    def _bordered(self, part: Image, picture: Picture) -> Image:
        if not picture.encoded:
            raise DataError(
                "holds pixels as they are; Intel's Caffe puts pad round encoded pictures only: take it out",
                picture.where,
            )
        return border.bordered(part, self.param.pad)

    def labelled(self, pictures: Sequence[Picture], cropped: Sequence[Cropped]) -> list[Labelled]:
        """The boxes of prepared pictures in what was cropped of each. Raises DataError."""
        whole = geometry.joined([picture.labelled for picture in pictures])
        if self.resize is not None:
            for picture in pictures:
                if min(picture.height, picture.width) < 1:
                    raise DataError("does not say its height and width, which resizing boxes needs", picture.where)
            whole = geometry.resized(whole, [(picture.height, picture.width) for picture in pictures], self.resize)
        window = WHOLE
        if any(one.window is not WHOLE for one in cropped):
            window = np.stack([one.window for one in cropped])[whole.facts[:, 3].astype(np.int64)]
        whole = geometry.seen_in(whole, window, self.emit)
        if any(one.mirrored for one in cropped):
            whole = geometry.mirrored(whole, [one.mirrored for one in cropped])
        every = geometry.apart(whole, len(pictures))
        if self.resize is None or self.resize.resize_mode != Mode.FIT_SMALL_SIZE:
            return every
        return [_of_fixed_size(*one, self.resize) for one in zip(every, pictures, cropped, strict=True)]


def _of_fixed_size(labelled: Labelled, picture: Picture, cropped: Cropped, resize: Any) -> Labelled:
    try:
        return geometry.of_fixed_size(labelled, picture.height, picture.width, cropped.window, resize)
    except ValueError as error:
        raise DataError(str(error), picture.where) from None


def _several_modes(resize: Any) -> bool:
    """Whether a ResizeParameter, if there is one, draws its interpolation."""
    return resize is not None and len(set(resize.interp_mode)) > 1
