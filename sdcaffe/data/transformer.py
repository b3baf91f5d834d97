"""Caffe's DataTransformer on whole batches: crop, mirror, subtract a mean, scale. Reads no data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sdcaffe import proto
from sdcaffe.data.order import DRAWS, random_draws
from sdcaffe.errors import DataError, LayerError
from sdcaffe.log import glog

Size = tuple[int, int, int]  # channels, height, width


@dataclass
class Windows:
    """Where each image of a batch is cropped and whether it is mirrored; None: the same for all."""

    top: NDArray[np.int64]
    left: NDArray[np.int64]
    mirror: NDArray[np.bool_] | None

    def part(self, i: int) -> tuple[int, int]:
        return int(self.top[i]), int(self.left[i])


class Transformer:
    """transform_param: (pixel - mean) * scale of a crop, maybe mirrored, in float32 as Caffe computes it.

    In the TRAIN phase the crop is random, in TEST central; `mirror` flips half of the images in either,
    as Caffe does. A mean image is subtracted where the pixel stood before the crop. The draws of batch k
    are a function of the seed and k. Raises LayerError for settings that exclude each other, DataError
    for a mean or an image that does not fit.
    """

    def __init__(self, param: Any, phase: Any) -> None:
        if param.HasField("mean_file") and len(param.mean_value):
            raise LayerError("transform_param has both mean_file and mean_value; give one", field="mean_value")
        if param.force_color and param.force_gray:
            raise LayerError("transform_param has both force_color and force_gray; give one", field="force_gray")
        self.crop: int = param.crop_size
        self.mirror: bool = param.mirror
        self.scale: float = param.scale
        self.random_crop = bool(self.crop) and phase == proto.TRAIN
        self.color = "color" if param.force_color else "gray" if param.force_gray else "native"
        self.mean_file: str = param.mean_file
        self.mean_image: Tensor | None = None  # (H, W, C)
        self.mean_value = torch.tensor(list(param.mean_value), dtype=torch.float32)
        self._constants: dict[tuple[torch.device, int], Tensor] = {}
        if param.HasField("mean_file"):
            glog("data_transformer.cpp:25", f"Loading mean file from: {param.mean_file}")
            self.mean_image = _mean_image(param.mean_file)

    def output_size(self, size: Size, name: str, where: str) -> Size:
        """The size after the crop of an image `name` of (channels, height, width). Raises DataError."""
        channels, height, width = size
        if self.crop > min(height, width):
            raise DataError(f"{name} is {show(size)}, smaller than crop_size {self.crop}", where)
        if self.mean_image is not None:
            mean = tuple(self.mean_image.permute(2, 0, 1).shape)
            if mean != size:
                raise DataError(
                    f"{name} is {show(size)} but the mean file {self.mean_file} is {show(mean)} "
                    "(channels x height x width); they must be equal",
                    where,
                )
        if len(self.mean_value) not in (0, 1, channels):
            raise DataError(
                f"{len(self.mean_value)} mean_values for {name} of {channels} channels; give one, or one a channel",
                where,
            )
        return (channels, self.crop, self.crop) if self.crop else size

    def windows(self, seed: int, k: int, height: NDArray[np.int64], width: NDArray[np.int64], rank: int = 0) -> Windows:
        """The draws of batch `k` for images of these heights and widths (one of each an image)."""
        n = len(height)
        mirror = None
        draws = np.zeros((3, n), np.uint64)
        if self.random_crop or self.mirror:
            draws = random_draws(seed, DRAWS, k, 3 * n, rank).reshape(3, n)
        if self.mirror:
            mirror = draws[2] % np.uint64(2) == 1
        if not self.crop:
            return Windows(np.zeros(n, np.int64), np.zeros(n, np.int64), mirror)
        if self.random_crop:
            top, left = (
                (draw % (free + 1).astype(np.uint64)).astype(np.int64)
                for draw, free in zip(draws, (height - self.crop, width - self.crop), strict=False)
            )
        else:
            top, left = (height - self.crop) // 2, (width - self.crop) // 2
        return Windows(top, left, mirror)

    def apply(self, images: Tensor, windows: Windows, pick: Tensor | None = None) -> Tensor:
        """Images (N, C, H, W), bytes or float32, channels_last -> float32 (n, C, h, w), channels_last.

        `pick` (n, int64) selects the images; None takes all in order. One gather for the whole batch.
        """
        pixels = images.permute(0, 2, 3, 1)  # channels last: a pixel is one row of the gather below
        n, (height, width, channels) = len(windows.top), pixels.shape[1:]
        size = (self.crop or height, self.crop or width)
        mean = self.mean_image
        same = not self.random_crop and windows.mirror is None
        if same:
            if pick is not None:
                pixels = pixels.index_select(0, pick)
            rows, columns = (slice(int(o[0]), int(o[0]) + s) for o, s in _axes(windows, size))
            out = pixels[:, rows, columns].to(torch.float32).contiguous()
            mean = None if mean is None else self._mean(mean, pixels.device)[rows, columns]
        else:
            place = self._places(windows, size, width, pixels.device)
            first = torch.arange(n, device=pixels.device) if pick is None else pick
            index = (first.unsqueeze(1) * (height * width) + place).flatten()
            out = pixels.reshape(-1, channels).index_select(0, index).to(torch.float32)
            out = out.reshape(n, *size, channels)
            if mean is not None:
                flat = self._mean(mean, pixels.device).reshape(-1, channels)
                mean = flat.index_select(0, place.flatten()).reshape(out.shape)
        return self._normalised(out, mean).permute(0, 3, 1, 2)

    def _places(self, windows: Windows, size: tuple[int, int], width: int, device: torch.device) -> Tensor:
        """(n, h * w): which pixel of its image each output pixel comes from; computed on the device."""
        mirror = np.zeros_like(windows.top) if windows.mirror is None else windows.mirror
        draws = torch.from_numpy(np.stack([windows.top, windows.left, mirror])).to(device)
        top, left, mirrored = draws.unsqueeze(2)
        x = torch.arange(size[1], device=device)
        columns = left + torch.where(mirrored != 0, size[1] - 1 - x, x)
        rows = (top + torch.arange(size[0], device=device)) * width
        return (rows.unsqueeze(2) + columns.unsqueeze(1)).flatten(1)

    def _mean(self, mean: Tensor, device: torch.device) -> Tensor:
        if mean.device != device:
            self.mean_image = mean = mean.to(device)
        return mean

    def _normalised(self, pixels: Tensor, mean: Tensor | None) -> Tensor:
        """(pixel - mean) * scale of float32 (n, h, w, C), two roundings as in Caffe."""
        if mean is not None:
            pixels = pixels - mean
        elif len(self.mean_value):
            n, h, w, c = pixels.shape
            key = (pixels.device, w * c)  # whole rows: long enough to vectorise
            if key not in self._constants:
                self._constants[key] = self.mean_value.expand(c).repeat(w).to(pixels.device)
            pixels = (pixels.reshape(n, h, w * c) - self._constants[key]).reshape(n, h, w, c)
        return pixels if self.scale == 1 else pixels * self.scale


def _axes(windows: Windows, size: tuple[int, int]) -> list[tuple[NDArray[np.int64], int]]:
    return [(windows.top, size[0]), (windows.left, size[1])]


def _mean_image(path: str) -> Tensor:
    """A mean.binaryproto as (H, W, C)."""
    array = np.asarray(proto.read_blob(path), np.float32)
    if array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 3:
        raise DataError(f"a mean image has shape 1 x C x H x W, not {show(array.shape)}", path)
    return torch.from_numpy(np.ascontiguousarray(array.transpose(1, 2, 0)))


def show(size: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in size)
