"""Feed: batch k of a source of labelled images, transformed and on the device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sdcaffe.data.order import Order
from sdcaffe.data.prefetch import Prefetcher
from sdcaffe.data.source import ArraySource, Image, Source
from sdcaffe.data.transformer import Size, Transformer, Windows, show
from sdcaffe.errors import DataError

# Sets up to these sizes, decoded, are read once and stay in the memory of the device. Decoding a large
# set before the first iteration would make a short run wait, hence the lower bound for encoded images.
RESIDENT_BYTES = 1 << 30
RESIDENT_ENCODED_BYTES = 1 << 28


@dataclass
class _Raw:
    """A batch as read: images (n, C, H, W) channels_last, labels (n,), and how to cut the images."""

    images: Tensor
    labels: Tensor
    windows: Windows


class Feed:
    """Batches of `source` in `order`, through `transformer`, with draws from the order's seed.

    `size` is (C, h, w) of the first batch's images; without crop_size, the images of one batch must be
    of one size, but batches may differ (as in Caffe). Small sets stay resident on the device; for others
    `prefetch` batches are read ahead by threads. Batch k is the same either way. Raises DataError.
    """

    def __init__(self, source: Source, transformer: Transformer, order: Order, *, prefetch: int) -> None:
        self.source, self.transformer, self.order = source, transformer, order
        self._prefetch = prefetch
        self._resident: tuple[Tensor, Tensor] | None = None
        self._prefetcher: Prefetcher[_Raw] | None = None
        self._device: torch.device | None = None  # where the resident set is, or where read batches go
        first = int(order.indices(0)[0])
        image = source.read(first)[0]
        self.size: Size = self._output_size(image, first)
        limit = RESIDENT_ENCODED_BYTES if source.encoded else RESIDENT_BYTES
        self._fits = len(source) * image.nbytes <= limit

    @property
    def seed(self) -> int:
        """The seed of shuffling, skipping and the transformer's draws."""
        return self.order.seed

    @seed.setter
    def seed(self, seed: int) -> None:
        self._stop()
        self.order.seed = seed

    def _output_size(self, image: Image, index: int) -> Size:
        return self.transformer.output_size(image.shape, self.source.name(index), self.source.where)

    def batch(self, k: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Batch `k` on `device`: images float32 (n, C, h, w), channels_last, and labels float32 (n,)."""
        if self._fits and self._resident is None:
            self._resident = self._read_all()
            self._fits = self._resident is not None
        if self._resident is not None:
            return self._from_memory(k, device)
        if self._prefetcher is None:
            self._device = device
            self._prefetcher = Prefetcher(self._read, self._prefetch, f"prefetch {self.source.where}")
        raw = self._prefetcher.get(k)
        images = raw.images.to(device, non_blocking=True)
        return self.transformer.apply(images, raw.windows), raw.labels.to(device, non_blocking=True)

    def _from_memory(self, k: int, device: torch.device) -> tuple[Tensor, Tensor]:
        assert self._resident is not None
        images, labels = self._resident
        if self._device != device:
            images, labels = self._resident = images.to(device), labels.to(device)
            self._device = device
        pick = torch.from_numpy(self.order.indices(k)).to(device)
        height, width = (np.full(len(pick), n, np.int64) for n in images.shape[2:])
        windows = self.transformer.windows(self.order.seed, k, height, width, self.order.rank)
        return self.transformer.apply(images, windows, pick), labels.index_select(0, pick)

    def _read_all(self) -> tuple[Tensor, Tensor] | None:
        """Every image and label; None where the images are of several sizes or kinds."""
        if isinstance(self.source, ArraySource):
            return self.source.all()
        first = self.source.read(0)[0]
        channels, height, width = first.shape
        pixels = np.empty((len(self.source), height, width, channels), first.dtype)
        labels = np.empty(len(self.source), np.float32)
        for i in range(len(self.source)):
            image, labels[i] = self.source.read(i)
            if image.shape != first.shape or image.dtype != first.dtype:
                return None
            pixels[i] = image.transpose(1, 2, 0)
        return torch.from_numpy(pixels).permute(0, 3, 1, 2), torch.from_numpy(labels)

    def _read(self, k: int) -> _Raw:
        """Batch `k` from the source, in memory; runs in several threads at once."""
        indices = [int(i) for i in self.order.indices(k)]
        images, labels = zip(*(self.source.read(i) for i in indices), strict=True)
        sizes = np.array([image.shape for image in images], np.int64)
        windows = self.transformer.windows(self.order.seed, k, sizes[:, 1], sizes[:, 2], self.order.rank)
        outputs = [self._output_size(image, i) for image, i in zip(images, indices, strict=True)]
        for i, output in enumerate(outputs):
            if output != outputs[0]:
                raise DataError(
                    f"{self.source.name(indices[i])} is {show(images[i].shape)} but "
                    f"{self.source.name(indices[0])} of the same batch is {show(images[0].shape)} (channels x "
                    "height x width); give all images one size, set crop_size, or use batch_size: 1",
                    self.source.where,
                )
        crop = self.transformer.crop
        if crop and (sizes != sizes[0]).any():  # cut each on its own; then all have one size
            cut = []
            for i, image in enumerate(images):
                top, left = windows.part(i)
                cut.append(image[:, top : top + crop, left : left + crop])
            zeros = np.zeros(len(images), np.int64)
            images, windows = tuple(cut), Windows(zeros, zeros, windows.mirror)
        return _Raw(self._stack(images), torch.tensor(labels, dtype=torch.float32), windows)

    def _stack(self, images: tuple[Image, ...]) -> Tensor:
        """(n, C, H, W), channels_last, bytes where all are bytes; pinned for a copy to the GPU."""
        channels, height, width = images[0].shape
        kind = torch.uint8 if all(image.dtype == np.uint8 for image in images) else torch.float32
        pinned = self._device is not None and self._device.type == "cuda"
        stacked = torch.empty((len(images), height, width, channels), dtype=kind, pin_memory=pinned)
        target = stacked.numpy()
        for i, image in enumerate(images):
            target[i] = image.transpose(1, 2, 0)
        return stacked.permute(0, 3, 1, 2)

    def _stop(self) -> None:
        if self._prefetcher is not None:
            self._prefetcher.close()
            self._prefetcher = None

    def close(self) -> None:
        """Stop the threads and let go of the source."""
        self._stop()
        self._resident = None
        self.source.close()
