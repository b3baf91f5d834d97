"""Feed: batch k of a source of labelled images, transformed and on the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from sdcaffe.data.memory import Recycler
from sdcaffe.data.order import Order
from sdcaffe.data.prefetch import Prefetcher
from sdcaffe.data.resident import Resident, resident
from sdcaffe.data.source import SOURCES, ArraySource, Image, Source
from sdcaffe.data.transformer import Size, Transformer, Windows, fill, show
from sdcaffe.errors import DataError

# Sets up to these sizes, decoded, are read once and stay in the memory of the device. Decoding a large
# set before the first iteration would make a short run wait, hence the lower bound for encoded images.
RESIDENT_BYTES = 1 << 30
RESIDENT_ENCODED_BYTES = 1 << 28


@dataclass
class _Raw:
    """A batch as read: images (n, C, h, w) cut and channels_last, labels (n,), and where they were cut."""

    images: Tensor
    labels: Tensor
    windows: Windows


class Batches(Protocol):
    """What a data layer takes its tops from: batch k is a function of k and `seed`."""

    order: Order
    size: Size  # of the first batch's images
    seed: int

    def batch(self, k: int, device: torch.device) -> tuple[Tensor, ...]: ...

    def close(self) -> None: ...


class Seeded:
    """What reads batches ahead, drawn by its order's seed. What was drawn by another seed is dropped."""

    order: Order
    _ahead: Prefetcher[Any]

    @property
    def seed(self) -> int:
        """The seed of shuffling, skipping and all that is drawn."""
        return self.order.seed

    @seed.setter
    def seed(self, seed: int) -> None:
        self._ahead.stop()
        self.order.seed = seed


class Feed(Seeded):
    """Batches of `source` in `order`, through `transformer`, with draws from the order's seed.

    `size` is (C, h, w) of the first batch's images; without crop_size, the images of one batch must be
    of one size, but batches may differ (as in Caffe). Small sets stay resident on the device, once for all
    feeds; for others `prefetch` batches are read ahead by threads. Batch k is the same either way. Raises DataError.
    """

    def __init__(self, source: Source, transformer: Transformer, order: Order, *, prefetch: int) -> None:
        self.source, self.transformer, self.order = source, transformer, order
        self._memory = Recycler()
        self._resident: Resident | None = None
        self._ahead: Prefetcher[_Raw] = Prefetcher(prefetch, f"prefetch {source.where}")
        self._device: torch.device | None = None  # where the resident set is, or where read batches go
        first = order.first
        with SOURCES.blamed(source):
            image = self._item(first)[0]
        self.size: Size = self._output_size(image, first)
        limit = RESIDENT_ENCODED_BYTES if source.encoded else RESIDENT_BYTES
        self._fits = len(source) * image.nbytes <= limit

    def _output_size(self, image: Image, index: int) -> Size:
        return self.transformer.output_size(image.shape, self.source.name(index), self.source.where)

    def batch(self, k: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Batch `k` on `device`: images float32 (n, C, h, w), channels_last, and labels float32 (n,)."""
        with SOURCES.blamed(self.source):
            return self._batch(k, device)

    def _item(self, index: int) -> tuple[Image, int]:
        """Image `index` and its label, as a batch can hold them."""
        image, label = self.source.read(index)
        if not (isinstance(image, np.ndarray) and image.ndim == 3):
            is_now = f"of shape {image.shape}" if isinstance(image, np.ndarray) else f"a {type(image).__name__}"
            where = self.source.where
            raise DataError(f"{self.source.name(index)} is {is_now}, not an array (channels, height, width)", where)
        return image if image.dtype in (np.uint8, np.float32) else image.astype(np.float32), label

    def _batch(self, k: int, device: torch.device) -> tuple[Tensor, Tensor]:
        if self._fits and (self._resident is None or self._device != device):
            everything = self._read_all()
            self._resident = everything and resident(*everything, device)
            self._device = device
            self._fits = self._resident is not None
        if self._resident is not None:
            return self._from_memory(self._resident, k)
        self._device = device
        raw = self._ahead.get(k, self._read)
        images = raw.images.to(device, non_blocking=True)
        return self.transformer.normalise(images, raw.windows), raw.labels.to(device, non_blocking=True)

    def _from_memory(self, all_of_them: Resident, k: int) -> tuple[Tensor, Tensor]:
        images, labels = all_of_them.images, all_of_them.labels
        pick = torch.from_numpy(self.order.indices(k)).to(images.device, non_blocking=True)  # waiting would stall a GPU
        draws = self.transformer.draws(self.order.seed, k, len(pick), self.order.rank)
        windows = self.transformer.windows(draws, *images.shape[2:])
        return self.transformer.apply(images, windows, pick), labels.index_select(0, pick)

    def _read_all(self) -> tuple[Tensor, Tensor] | None:
        """Every image and label; None where the images are of several sizes or kinds."""
        if isinstance(self.source, ArraySource):
            return self.source.all()
        first = self._item(0)[0]
        channels, height, width = first.shape
        pixels = np.empty((len(self.source), height, width, channels), first.dtype)
        labels = np.empty(len(self.source), np.float32)
        for i in range(len(self.source)):
            image, labels[i] = self._item(i)
            if image.shape != first.shape or image.dtype != first.dtype:
                return None
            fill(pixels[i], image)
        return torch.from_numpy(pixels).permute(0, 3, 1, 2), torch.from_numpy(labels)

    def _read(self, k: int) -> _Raw:
        """Batch `k` from the source, cut and mirrored, in memory; runs in several threads at once."""
        indices: list[int] = self.order.indices(k).tolist()
        draws = self.transformer.draws(self.order.seed, k, len(indices), self.order.rank)
        labels = torch.empty(len(indices))
        windows: dict[tuple[int, ...], Windows] = {}  # for each size of image
        batch, output = torch.empty(0), (0, 0, 0)
        for i, index in enumerate(indices):
            image, labels[i] = self._item(index)
            if image.shape not in windows:
                size = self._output_size(image, index)
                if not windows:
                    first, output = image, size
                    batch = self._empty(len(indices), size, image)
                elif size != output:
                    raise self._unlike(index, image, indices[0], first)
                windows[image.shape] = self.transformer.windows(draws, *image.shape[1:])
            if image.dtype == np.float32 and batch.dtype == torch.uint8:
                batch = batch.to(torch.float32)
            self.transformer.cut(image, windows[image.shape], i, batch[i].numpy())
        return _Raw(batch.permute(0, 3, 1, 2), labels, windows[first.shape])

    def _empty(self, n: int, size: Size, like: Image) -> Tensor:
        """(n, h, w, C); memory that is used again, or pinned for a copy to the GPU (then torch uses it again)."""
        channels, height, width = size
        kind = torch.uint8 if like.dtype == np.uint8 else torch.float32
        if self._device is not None and self._device.type == "cuda":
            return torch.empty((n, height, width, channels), dtype=kind, pin_memory=True)
        return self._memory.empty((n, height, width, channels), kind)

    def _unlike(self, index: int, image: Image, first_index: int, first: Image) -> DataError:
        return DataError(
            f"{self.source.name(index)} is {show(image.shape)} but {self.source.name(first_index)} of the same batch "
            f"is {show(first.shape)} (channels x height x width); give all images one size, set crop_size, or use "
            "batch_size: 1",
            self.source.where,
        )

    def close(self) -> None:
        """Stop the threads and let go of the source."""
        self._ahead.stop()
        self._resident = None
        self.source.close()
