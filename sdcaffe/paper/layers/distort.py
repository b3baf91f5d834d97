"""Distort: the paper's random distortion phi as a layer, and others, one independent draw per image and per top.

It distorts and normalises a batch that is already in memory; it reads no data and keeps no state but
torch's default generator of the device that the batch is on.
"""

from __future__ import annotations

import enum
import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from sdcaffe import proto
from sdcaffe.layers.base import (
    Layer,
    OnnxBuilder,
    Shape,
    Source,
    SourceBuilder,
    Tops,
    call,
    number,
    register,
    show_shape,
)
from sdcaffe.paper.layers import random_erasing, warp
from sdcaffe.paper.layers.normalise import Normalise
from sdcaffe.paper.layers.random_erasing import RandomErasing
from sdcaffe.paper.layers.warp import AffineWarp, PerspectiveWarp, ThinPlateSplineWarp, Warp


class PadStage(enum.IntEnum):
    """What the zero border is: RAW pads the raw pixels (black), NORMALIZED the normalised ones (the mean)."""

    RAW = 0
    NORMALIZED = 1


@register("Distort", field="distort_param", number=1001)
class Distort(Layer):
    """Zero-pad, random crop, mirror and mean/std normalisation of a bottom (N, C, H, W) of pixels.

    Tops are (N, C, crop, crop), floating point and channels_last in memory; two tops are two branches
    of the same images. In training every image of every top gets its own crop position and, with
    `mirror`, is flipped with probability 1/2. In the TEST phase all tops are the central window,
    normalised. `crop_size` 0 crops back to the bottom's own size. `mean_value` and `std_value` are in
    units of the pixels: none, one for all channels, or one a channel; the top is (pixel - mean) / std.
    The bottom may be of any real type, bytes included.

    Beyond the paper, and off by default, each image of each top with a draw of its own (`rotation` and `shear` are
    degrees, all else fractions):

    - `affine` turns it by up to `rotation`, moves it by up to `translation` of its size, scales it by 1 +- `scaling`
      and slants it by up to `shear`
    - `perspective` moves each of its corners inwards by up to `displacement` of half its size
    - `thin_plate_spline` bends the window by a grid of `points` x `points`, each moved by up to `displacement` of the
      window's size
    - `erasing` paints a rectangle of the window over, with `probability`: `min_area` to `max_area` of it, height to
      width within a factor of `max_aspect`

    Warps interpolate bilinearly. What comes from outside of an image, and what is erased, is as the border of `pad`.
    """

    param: proto.DistortParameter
    tops = (1, None)

    class Param:
        pad: int = 0
        crop_size: int = 0
        mirror: bool = False
        mean_value: list[float]
        std_value: list[float]
        pad_stage: PadStage = PadStage.RAW
        affine: AffineWarp
        perspective: PerspectiveWarp
        thin_plate_spline: ThinPlateSplineWarp
        erasing: RandomErasing

    scale: Tensor
    shift: Tensor
    warp: Warp | None

    branches = True

    @classmethod
    def scaling(cls, layer_param: proto.LayerParameter) -> tuple[list[float], list[float]]:
        param = layer_param.distort_param
        return list(param.mean_value) or [0.0], list(param.std_value) or [1.0]

    @classmethod
    def unscaled(cls, layer_param: proto.LayerParameter) -> None:
        for field in ("mean_value", "std_value"):
            layer_param.distort_param.ClearField(field)

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        shape = bottom_shapes[0]
        if len(shape) != 4:
            raise self.error(f"needs a bottom of images (N, C, H, W), not {show_shape(shape)}")
        n, c, h, w = shape
        pad, crop = self.param.pad, self.param.crop_size
        if pad < 0:
            raise self.error(f"pad is {pad}; it must be 0 or more", "pad")
        if not 0 <= crop <= min(h, w) + 2 * pad:
            raise self.error(
                f"crop_size {crop} does not fit an image of {h}x{w} padded by {pad} a side; "
                f"it must be at most {min(h, w) + 2 * pad}, or 0 for the image's own size",
                "crop_size",
            )
        self.crop = (crop, crop) if crop else (h, w)
        self._set_normalisation(c)
        flaw = warp.flaw(self.param) or random_erasing.flaw(self.param.erasing)
        if flaw is not None:
            raise self.error(*flaw)
        warped = self.phase == proto.TRAIN and warp.is_on(self.param)
        self.warp = Warp(self.param, (h, w), self.crop).to(self.scale.device) if warped else None
        return [(n, c, *self.crop)] * len(self.layer_param.top)

    def _set_normalisation(self, channels: int) -> None:
        mean = self._each_channel("mean_value", channels, 0.0)
        std = self._each_channel("std_value", channels, 1.0)
        if min(std) <= 0:
            raise self.error(f"std_value must be positive, not {min(std):g}", "std_value")
        self.normalises = bool(len(self.param.mean_value) or len(self.param.std_value))
        device = self.scale.device if "scale" in self._buffers else None
        for name, values in (
            ("scale", [1 / s for s in std]),
            ("shift", [-m / s for m, s in zip(mean, std, strict=True)]),
        ):
            tensor = torch.tensor(values, dtype=torch.float32, device=device)
            self.register_buffer(name, tensor, persistent=False)

    def _each_channel(self, field: str, channels: int, default: float) -> list[float]:
        values = list(getattr(self.param, field)) or [default]
        if len(values) not in (1, channels):
            raise self.error(
                f"has {len(values)} of {field} for {channels} channels; give none, one, or one a channel",
                field,
            )
        if not all(map(math.isfinite, values)):
            raise self.error(f"{field} must be finite, not {values}", field)
        return values * channels if len(values) == 1 else values

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        tops = len(self.layer_param.top)
        pixels = images.permute(0, 2, 3, 1)  # channels last: a pixel is one row of the gather below
        if self.phase == proto.TRAIN:
            distorted = self._erased(self._windows(pixels, tops))
        else:
            distorted = [self._central_window(pixels)] * tops
        branches = tuple(branch.permute(0, 3, 1, 2) for branch in distorted)
        return branches[0] if tops == 1 else branches

    def _padded(self, pixels: Tensor) -> Tensor:
        """(N, H, W, C) -> normalised (N, H + 2 pad, W + 2 pad, C)."""
        pad = self.param.pad
        border = (0, 0, pad, pad, pad, pad)
        if self.param.pad_stage == PadStage.NORMALIZED:
            return functional.pad(self._normalised(pixels), border)
        return self._normalised(functional.pad(pixels, border) if pad else pixels)

    def _normalised(self, pixels: Tensor) -> Tensor:
        """(pixel - mean) / std of (N, H, W, C) in one pass, over rows long enough to vectorise."""
        dtype = pixels.dtype if pixels.is_floating_point() else torch.float32
        pixels = pixels.to(dtype)
        if not self.normalises:
            return pixels
        n, h, w, c = pixels.shape
        shift, scale = (constant.to(dtype).repeat(w) for constant in (self.shift, self.scale))
        return torch.addcmul(shift, pixels.reshape(n * h, w * c), scale).reshape(n, h, w, c)

    def _windows(self, pixels: Tensor, tops: int) -> list[Tensor]:
        """`tops` batches of random windows of the padded images, each maybe mirrored and warped, normalised."""
        if self.warp is None:
            return list(self._cut(self._padded(pixels), tops).unbind())
        if self.param.pad_stage == PadStage.NORMALIZED:
            return list(self._sampled(self._normalised(pixels), self.warp, tops).unbind())
        return [self._normalised(windows) for windows in self._sampled(pixels, self.warp, tops)]

    def _draw(self, m: int, rows: int, columns: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor | None]:
        """The corners of m windows among `rows` x `columns` places, and which to mirror, each (m, 1)."""
        mirrors = 1 + self.param.mirror
        draw = torch.randint(rows * columns * mirrors, (m, 1), device=device)
        top, left = draw // (columns * mirrors), draw // mirrors % columns
        return top, left, draw % 2 == 1 if self.param.mirror else None

    def _cut(self, padded: Tensor, tops: int) -> Tensor:
        """(tops, N, crop, crop, C) by one gather; nothing waits for the device."""
        n, h, w, c = padded.shape
        crop_h, crop_w = self.crop
        device = padded.device
        top, left, mirrored = self._draw(tops * n, h - crop_h + 1, w - crop_w + 1, device)
        x = torch.arange(crop_w, device=device)
        if mirrored is not None:
            x = torch.where(mirrored, crop_w - 1 - x, x)
        image = torch.arange(n, device=device).repeat(tops).unsqueeze(1)
        row = (image * h + top + torch.arange(crop_h, device=device)) * w
        index = row.unsqueeze(2) + (left + x).unsqueeze(1)
        windows = padded.reshape(-1, c).index_select(0, index.flatten())
        return windows.reshape(tops, n, crop_h, crop_w, c)

    def _sampled(self, pixels: Tensor, warp: Warp, tops: int) -> Tensor:
        """(tops, N, crop, crop, C), interpolated where each warp points, zero outside of the images."""
        n, h, w, c = pixels.shape
        crop_h, crop_w = self.crop
        pad, dtype = self.param.pad, pixels.dtype if pixels.is_floating_point() else torch.float32
        top, left, mirrored = self._draw(tops * n, h + 2 * pad - crop_h + 1, w + 2 * pad - crop_w + 1, pixels.device)
        places = warp(top - pad, left - pad, mirrored).to(dtype)
        # all windows of an image one below the other: grid_sample then needs each image once
        places = places.reshape(tops, n, crop_h, crop_w, 2).transpose(0, 1).reshape(n, tops * crop_h, crop_w, 2)
        images = pixels.permute(0, 3, 1, 2).to(dtype)
        windows = functional.grid_sample(images, places, mode="bilinear", padding_mode="zeros", align_corners=False)
        return windows.reshape(n, c, tops, crop_h, crop_w).permute(2, 0, 3, 4, 1).contiguous()

    def _erased(self, windows: list[Tensor]) -> list[Tensor]:
        """Rectangles painted over with what the border holds."""
        param = self.param.erasing
        if not param.probability:
            return windows
        like = windows[0]
        fill = self.shift.to(like.dtype) if self.param.pad_stage == PadStage.RAW else like.new_zeros(())
        masks = (random_erasing.erased(len(top), self.crop, param, like.device) for top in windows)
        return [torch.where(mask.unsqueeze(3), fill, top) for mask, top in zip(masks, windows, strict=True)]

    def _central_window(self, pixels: Tensor) -> Tensor:
        """The middle, normalised. The border is there only where the crop is larger than the image."""
        crop_h, crop_w = self.crop
        outgrown = crop_h > pixels.shape[1] or crop_w > pixels.shape[2]
        source = self._padded(pixels) if outgrown else pixels
        top, left = (source.shape[1] - crop_h) // 2, (source.shape[2] - crop_w) // 2
        window = source[:, top : top + crop_h, left : left + crop_w]
        return window if outgrown else self._normalised(window)

    def to_onnx(self, builder: OnnxBuilder, *bottoms: Tensor) -> Tops:
        (images,) = bottoms
        crop_h, crop_w = self.crop
        if self.param.crop_size:
            if crop_h > images.shape[2] or crop_w > images.shape[3]:
                return self.forward(images)
            y, x = (images.shape[2] - crop_h) // 2, (images.shape[3] - crop_w) // 2
            images = images[:, :, y : y + crop_h, x : x + crop_w]
        if self.normalises:
            scale, shift = builder.blobs
            top = images * scale + shift
        else:
            top = images * 1.0
        return top if len(self.layer_param.top) == 1 else (top,) * len(self.layer_param.top)

    def onnx_blobs(self) -> list[Tensor]:
        return [self.scale.reshape(-1, 1, 1), self.shift.reshape(-1, 1, 1)]

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        if len(self.layer_param.top) > 1 or tuple(bottoms[0][2:]) != tuple(self.crop):
            raise self.unwritten("a Distort of several tops, or of another size than its bottom,")
        if not self.normalises:
            return Source("{0}")
        channels = bottoms[0][1]
        mean, std = list(self.param.mean_value) or [0.0], list(self.param.std_value) or [1.0]
        lists = (", ".join(map(number, values if len(values) > 1 else values * channels)) for values in (mean, std))
        return Source("{self}({0})", call(builder.part(Normalise), *(f"[{numbers}]" for numbers in lists)))

    def example(self, index: int, shapes: list[Shape], random: np.random.Generator) -> np.ndarray | None:
        return random.integers(0, 256, shapes[0])
