"""WindowData: windows of images, foreground and background in a fixed share, warped to squares (R-CNN)."""

from __future__ import annotations

import logging
from collections import Counter

import numpy as np
import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.data.decode import decode_image, read_bytes, too_large
from sdcaffe.data.order import DRAWS, default_seed, random_draws, shard
from sdcaffe.data.prefetch import Prefetcher
from sdcaffe.data.transformer import Transformer
from sdcaffe.data.windows import Warp, Window, read_windows
from sdcaffe.layers.base import DataLayer, Shape, register
from sdcaffe.log import glog

PREFETCH = 4


@register("WindowData", field="window_data_param")
class WindowData(DataLayer):
    """Batch k draws batch_size * fg_fraction foreground windows, after background ones, by seed and k.

    The crop size, mean and mirror are transform_param's; the scale is window_data_param's, as in Caffe,
    which passes over transform_param's. A mean image counts by its centre. `crop_mode` "square" keeps the
    aspect ratio, "warp" does not; `context_pad` is in pixels of the crop. Beyond the image, tops are 0.
    """

    param: proto.WindowDataParameter
    tops = 2
    _seed: int | None = None

    brings = "images"
    channel_order = "bgr"

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        param, crop = self.param, self.layer_param.transform_param.crop_size
        shapes: list[Shape] = [(param.batch_size, 3, crop, crop), (param.batch_size,)]
        if self._seed is not None:
            return shapes
        self._check()
        self._warp = Warp(crop, param.context_pad, param.crop_mode == "square")
        self._transform = Transformer(self.layer_param.transform_param, self.phase)
        self._mean = self._mean_image()
        windows = read_windows(param.source, param.root_folder, param.fg_threshold, param.bg_threshold)
        self._windows = windows
        self._foreground = int(np.float32(param.batch_size) * np.float32(param.fg_fraction))
        for kind, count, found in (
            ("foreground", self._foreground, windows.foreground),
            ("background", param.batch_size - self._foreground, windows.background),
        ):
            if count and not found:
                raise self.error(f"{param.source} has no {kind} windows, and a batch needs {count}", "source")
        self._files = [read_bytes(path) for path in windows.paths] if param.cache_images else None
        self._rank = shard(self.phase)[0]
        self._ahead: Prefetcher[tuple[Tensor, Tensor]] = Prefetcher(PREFETCH, f"prefetch {param.source}")
        self._seed = default_seed(self.name)
        self._log(shapes[0])
        return shapes

    def _check(self) -> None:
        param, transform = self.param, self.layer_param.transform_param
        if param.batch_size < 1:
            raise self.error(f"batch_size is {param.batch_size}; it must be 1 or more", "batch_size")
        if transform.crop_size < 1:
            raise self.error("transform_param needs a crop_size: the side of the warped windows", "transform_param")
        if words := too_large(transform.crop_size, transform.crop_size):
            raise self.error(f"crop_size would make {words}", "crop_size")
        if 2 * param.context_pad >= transform.crop_size:
            raise self.error(
                f"context_pad {param.context_pad} leaves nothing of crop_size {transform.crop_size}", "context_pad"
            )
        if not 0 <= param.fg_fraction <= 1:
            raise self.error(f"fg_fraction is {param.fg_fraction:g}; it must be 0 to 1", "fg_fraction")
        if param.crop_mode not in ("warp", "square"):
            raise self.error(f'crop_mode is "{param.crop_mode}"; it is warp or square', "crop_mode")
        if transform.HasField("scale"):
            logging.getLogger("sdcaffe").warning(
                'layer "%s": WindowData does not use transform_param.scale; set window_data_param.scale', self.name
            )

    def _mean_image(self) -> np.ndarray | float:
        """What to subtract, (3, crop, crop) or broadcast to it."""
        crop, transform = self._warp.crop, self._transform
        if len(transform.mean_value) not in (0, 1, 3):
            raise self.error(f"{len(transform.mean_value)} mean_values; give 1 or 3", "mean_value")
        if len(transform.mean_value):
            return transform.mean_value.numpy().reshape(-1, 1, 1)
        if transform.mean_image is None:
            return 0.0
        mean = transform.mean_image.permute(2, 0, 1).numpy()
        start = (mean.shape[2] - crop) // 2  # the same for rows and columns, as in Caffe
        if len(mean) != 3 or start < 0 or start + crop > mean.shape[1]:
            raise self.error(f"mean file {transform.mean_file} is too small for crop_size {crop}", "mean_file")
        return mean[:, start : start + crop, start : start + crop]

    def _log(self, shape: Shape) -> None:
        windows = self._windows
        glog("window_data_layer.cpp:155", f"Number of images: {len(windows.paths)}")
        classes = Counter(window.label for window in windows.foreground)
        for label, count in sorted({0: len(windows.background), **classes}.items()):
            glog("window_data_layer.cpp:159", f"class {label} has {count} samples")
        glog("window_data_layer.cpp:163", f"Amount of context padding: {self.param.context_pad}")
        glog("window_data_layer.cpp:166", f"Crop mode: {self.param.crop_mode}")
        glog("window_data_layer.cpp:177", f"output data size: {','.join(str(n) for n in shape)}")

    @property
    def seed(self) -> int:
        """Decides which windows are drawn and mirrored; set it to repeat another run's."""
        if self._seed is None:
            raise self.error("reads data only between setup and close")
        return self._seed

    @seed.setter
    def seed(self, seed: int) -> None:
        self._ahead.stop()
        self._seed = seed

    def next_batch(self, device: torch.device) -> tuple[Tensor, ...]:
        batch = self._ahead.get(self.cursor, self._read)
        self.cursor += 1
        return tuple(blob.to(device, non_blocking=True) for blob in batch)

    def _read(self, k: int) -> tuple[Tensor, Tensor]:
        n, crop = self.param.batch_size, self._warp.crop
        choice, flips = random_draws(self.seed, DRAWS, k, 2 * n, self._rank).reshape(2, n)
        data = np.zeros((n, 3, crop, crop), np.float32)
        labels = np.zeros(n, np.float32)
        for i in range(n):
            windows = self._windows.foreground if i >= n - self._foreground else self._windows.background
            window = windows[int(choice[i]) % len(windows)]
            self._draw(data[i], window, self._transform.mirror and bool(flips[i] % np.uint64(2)))
            labels[i] = window.label
        images = torch.from_numpy(data).contiguous(memory_format=torch.channels_last)
        return images, torch.from_numpy(labels)

    def _draw(self, target: np.ndarray, window: Window, mirror: bool) -> None:
        path = self._windows.paths[window.image]
        content = read_bytes(path) if self._files is None else self._files[window.image]
        pixels, row, column = self._warp.cut(decode_image(content, "color", path), window.box, mirror, path)
        rows, columns = slice(row, row + pixels.shape[1]), slice(column, column + pixels.shape[2])
        mean = np.broadcast_to(np.float32(self._mean), target.shape)[:, rows, columns]
        target[:, rows, columns] = (pixels.astype(np.float32) - mean) * np.float32(self.param.scale)

    def close(self) -> None:
        if self._seed is not None:
            self._ahead.stop()
        self._seed = None
