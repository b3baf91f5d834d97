"""Caffe's DataTransformer on whole batches: crop, mirror, subtract a mean, scale. Reads no data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sdcaffe import proto
from sdcaffe.data.memory import Recycler
from sdcaffe.data.order import DRAWS, random_draws
from sdcaffe.data.source import Image
from sdcaffe.errors import DataError, LayerError
from sdcaffe.log import glog

Size = tuple[int, int, int]  # channels, height, width
Draws = NDArray[np.uint64]

_FEW = 16  # images whose means are gathered at once: little memory, so that it is not fresh each time


@dataclass
class Windows:
    """Where each image of a batch is cropped and whether it is mirrored; None: none is."""

    top: NDArray[np.int64]
    left: NDArray[np.int64]
    mirror: NDArray[np.bool_] | None


class Transformer:
    """transform_param: (pixel - mean) * scale of a crop, maybe mirrored, in float32 as Caffe computes it.

    In the TRAIN phase the crop is random, in TEST central; `mirror` flips half of the images in either,
    as Caffe does. A mean image is subtracted where the pixel stood before the crop. The draws of batch k
    are a function of the seed and k. Raises LayerError for settings that exclude each other, DataError
    for a mean or an image that does not fit.
    """

    def __init__(self, param: proto.TransformationParameter, phase: int) -> None:
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
        self._means: Tensor | None = None
        self.memory = Recycler()
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

    def draws(self, seed: int, k: int, n: int, rank: int = 0) -> Draws:
        """What decides the windows of the `n` images of batch `k`: (3, n), for the top, the left and the mirror."""
        if self.random_crop or self.mirror:
            return random_draws(seed, DRAWS, k, 3 * n, rank).reshape(3, n)
        return np.zeros((3, n), np.uint64)

    def windows(self, draws: Draws, height: int, width: int) -> Windows:
        """The windows that `draws` mean in images of this height and width."""
        mirror = draws[2] % np.uint64(2) == 1 if self.mirror else None
        return Windows(self._offsets(draws[0], height), self._offsets(draws[1], width), mirror)

    def _offsets(self, draws: Draws, size: int) -> NDArray[np.int64]:
        free = size - self.crop if self.crop else 0
        if self.random_crop:
            return (draws % np.uint64(free + 1)).astype(np.int64)
        return np.full(len(draws), free // 2, np.int64)

    def cut(self, image: Image, windows: Windows, i: int, target: Image) -> None:
        """Copy window `i` of `image` (C, H, W), mirrored where it is to be, into `target` (h, w, C)."""
        height, width, _ = target.shape
        top, left = int(windows.top[i]), int(windows.left[i])
        part = image[:, top : top + height, left : left + width]
        if windows.mirror is not None and windows.mirror[i]:
            part = part[:, :, ::-1]
        fill(target, part)

    def apply(self, images: Tensor, windows: Windows, pick: Tensor) -> Tensor:
        """Images (N, C, H, W), bytes or float32, channels_last -> float32 (n, C, h, w), channels_last.

        `pick` (n, int64) selects the images.
        """
        pixels = images.permute(0, 2, 3, 1)
        height, width, channels = pixels.shape[1:]
        shape = (len(pick), self.crop or height, self.crop or width, channels)
        if not self.random_crop and windows.mirror is None:
            top, left = int(windows.top[0]), int(windows.left[0])
            cut = pixels.index_select(0, pick)[:, top : top + shape[1], left : left + shape[2]]
        elif pixels.device.type == "cpu":
            cut = self.memory.empty(shape, pixels.dtype)
            source, target = images.numpy(), cut.numpy()
            for i, index in enumerate(pick.tolist()):
                self.cut(source[index], windows, i, target[i])
        else:
            cut = _gathered(pixels, windows, pick, shape)
        return self.normalise(cut.permute(0, 3, 1, 2), windows)

    def normalise(self, cut: Tensor, windows: Windows) -> Tensor:
        """(pixel - mean) * scale of windows (n, C, h, w) that are cut and mirrored; two roundings, as in Caffe.

        Bytes or float32 in, float32 out, both channels_last.
        """
        pixels = cut.permute(0, 2, 3, 1)
        shape = tuple(pixels.shape)
        if cut.device.type == "cpu":
            out = self.memory.empty(shape, torch.float32)
        else:
            out = torch.empty(shape, device=cut.device)
        out.copy_(pixels)
        return self.centred(out, windows)

    def centred(self, out: Tensor, windows: Windows) -> Tensor:
        """`normalise` of float32 pixels (n, h, w, C), in their memory."""
        n, h, w, c = out.shape
        if self.mean_image is not None:
            self._subtract_mean_image(self.mean_image, out, windows)
        elif len(self.mean_value):
            out.view(n, h, w * c).sub_(self._constant(out.device, w, c))
        if self.scale != 1:
            out.mul_(self.scale)
        return out.permute(0, 3, 1, 2)

    def _constant(self, device: torch.device, width: int, channels: int) -> Tensor:
        """The mean values of a whole row of pixels: long enough to vectorise."""
        key = (device, width * channels)
        if key not in self._constants:
            self._constants[key] = self.mean_value.expand(channels).repeat(width).to(device)
        return self._constants[key]

    def _subtract_mean_image(self, mean: Tensor, out: Tensor, windows: Windows) -> None:
        """Subtract from `out` (n, h, w, C) the mean where each pixel stood in its image, a few images at a time."""
        if self._means is None or self._means.device != out.device:
            self._means = torch.stack([mean, mean.flip(1)]).to(out.device)  # as it is, and mirrored
        height, width = out.shape[1:3]
        seen = self._means.unfold(1, height, 1).unfold(2, width, 1).permute(0, 1, 2, 4, 5, 3)
        mirror = np.zeros_like(windows.top) if windows.mirror is None else windows.mirror.astype(np.int64)
        left = np.where(mirror == 1, mean.shape[1] - width - windows.left, windows.left)
        places = torch.from_numpy(np.stack([mirror, windows.top, left])).to(out.device)
        for some, place in zip(out.split(_FEW), places.split(_FEW, 1), strict=True):
            some.sub_(seen[tuple(place)])


def _gathered(pixels: Tensor, windows: Windows, pick: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Windows (n, h, w, C) of the images `pick` of `pixels` (N, H, W, C), in one gather that no one waits for."""
    (n, h, w, channels), (height, width) = shape, pixels.shape[1:3]
    mirror = np.zeros_like(windows.top) if windows.mirror is None else windows.mirror
    top, left, mirrored = torch.from_numpy(np.stack([windows.top, windows.left, mirror])).to(pixels.device).unsqueeze(2)
    x = torch.arange(w, device=pixels.device)
    columns = left + torch.where(mirrored != 0, w - 1 - x, x)
    rows = (pick.unsqueeze(1) * height + top + torch.arange(h, device=pixels.device)) * width
    index = (rows.unsqueeze(2) + columns.unsqueeze(1)).flatten()
    return pixels.reshape(-1, channels).index_select(0, index).reshape(n, h, w, channels)


def _mean_image(path: str) -> Tensor:
    """A mean.binaryproto as (H, W, C)."""
    array = np.asarray(proto.read_blob(path), np.float32)
    if array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 3:
        raise DataError(f"a mean image has shape 1 x C x H x W, not {show(array.shape)}", path)
    return torch.from_numpy(np.ascontiguousarray(array.transpose(1, 2, 0)))


def fill(target: Image, image: Image) -> None:
    """Copy `image` (C, h, w) into `target` (h, w, C)."""
    if image.strides[0] == image.itemsize:
        target[:] = image.transpose(1, 2, 0)
        return
    for channel, plane in enumerate(image):  # a plane at a time: numpy is slow where the innermost axis is short
        target[:, :, channel] = plane


def show(size: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in size)
