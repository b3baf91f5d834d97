"""Batches of images and their pixels' labels: read, cut and put together by threads, ahead of the net."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sdcaffe import proto
from sdcaffe.data.feed import Seeded
from sdcaffe.data.order import Order
from sdcaffe.data.prefetch import Prefetcher
from sdcaffe.data.transformer import Size, Transformer, Windows, show
from sdcaffe.errors import DataError
from sdcaffe.forks.segmentation.pairs import Bytes, Pair, PairSource
from sdcaffe.forks.ssd.dice import Dice

KEPT_BYTES = 1 << 28  # of pairs, decoded, that stay in memory for the next epoch

Cut = tuple[NDArray[Any], Bytes]  # pixels (C, h, w), bytes or float32, and labels (1, h, w)


class PairFeed(Seeded):
    """Batches of `source` in `order`, each pair made into one item by `cut`; see `sdcaffe.data.feed.Batches`.

    A batch is images float32 (n, C, h, w), less the mean and scaled as `transform` says, labels float32 (n, 1, h, w),
    and the height and width that each image had before, cut to those of the batch, (n, 1, 1, 2). Its size is that of
    its first item, and others must be of it. What chance decides is a function of the seed, the batch and the place
    in it. Raises DataError.
    """

    def __init__(
        self,
        source: PairSource,
        cut: Callable[[Pair, Dice], Cut],
        transform: proto.TransformationParameter,
        order: Order,
        *,
        prefetch: int,
    ) -> None:
        self.source, self.order, self._cut = source, order, cut
        self._ahead: Prefetcher[tuple[Tensor, Tensor, Tensor]] = Prefetcher(prefetch, f"prefetch {source.where}")
        self._kept: dict[int, Pair] = {}
        self._room, self._lock = KEPT_BYTES, threading.Lock()
        plain = type(transform)()
        plain.CopyFrom(transform)
        plain.ClearField("crop_size")  # what is cut and mirrored is `cut`'s
        plain.ClearField("mirror")
        self._normaliser = Transformer(plain, proto.TEST)
        first = self._item(0, 0, order.first)[0]
        self.size: Size = first.shape

    def batch(self, k: int, device: torch.device) -> tuple[Tensor, ...]:
        images, labels, sizes = self._ahead.get(k, self._read)
        pixels = images.to(device, non_blocking=True).permute(0, 3, 1, 2)
        nowhere = np.zeros(len(pixels), np.int64)
        return self._normaliser.normalise(pixels, Windows(nowhere, nowhere, None)), labels.to(device), sizes.to(device)

    def _read(self, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """Batch `k`, its images (n, h, w, C); runs in several threads at once."""
        items = [self._item(k, i, index) for i, index in enumerate(self.order.indices(k).tolist())]
        shape = items[0][0].shape
        for pixels, _, pair in items:
            if pixels.shape != shape:
                raise DataError(
                    f"is {show(pixels.shape)}, but the first of its batch {show(shape)} (channels x height x width); "
                    "set new_height and new_width, a crop, or batch_size: 1",
                    pair.where,
                )
        images = np.stack([pixels.transpose(1, 2, 0) for pixels, _, _ in items])
        labels = np.stack([own for _, own, _ in items]).astype(np.float32)
        sizes = np.array([np.minimum(pair.pixels.shape[1:], shape[1:]) for _, _, pair in items], np.float32)
        return torch.from_numpy(images), torch.from_numpy(labels), torch.from_numpy(sizes).reshape(-1, 1, 1, 2)

    def _item(self, k: int, i: int, index: int) -> tuple[NDArray[Any], Bytes, Pair]:
        """Item `i` of batch `k`, pair `index` of the source."""
        pair = self._kept.get(index)
        if pair is None:
            pair = self.source.read(index)
            self._keep(index, pair)
        pixels, labels = self._cut(pair, Dice(self.order.seed, k, i, self.order.rank))
        self._normaliser.output_size(pixels.shape, "the image", pair.where)
        return pixels, labels, pair

    def _keep(self, index: int, pair: Pair) -> None:
        with self._lock:
            size = pair.pixels.nbytes + pair.labels.nbytes
            if size <= self._room and index not in self._kept:
                self._room -= size
                self._kept[index] = pair

    def close(self) -> None:
        """Stop the threads and let go of the source."""
        self._ahead.stop()
        self._kept.clear()
        self.source.close()
