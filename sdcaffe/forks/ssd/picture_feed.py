"""Batches of pictures, with boxes or without: read, transformed and put together by threads, ahead of the net."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sdcaffe import proto
from sdcaffe.data.feed import Seeded
from sdcaffe.data.memory import Recycler
from sdcaffe.data.order import Order
from sdcaffe.data.prefetch import Prefetcher
from sdcaffe.data.source import Image
from sdcaffe.data.transformer import Size, fill, show
from sdcaffe.errors import DataError
from sdcaffe.forks.ssd.border import normaliser_of, windows_of
from sdcaffe.forks.ssd.dice import Dice
from sdcaffe.forks.ssd.drawn_pipeline import DrawnPipelines
from sdcaffe.forks.ssd.geometry import Labelled
from sdcaffe.forks.ssd.picture import Picture, PictureSource
from sdcaffe.forks.ssd.pipeline import Cropped, Pipeline

_NONE = np.empty((0, 0, 0), np.uint8)
KEPT_BYTES = 1 << 28  # of pictures, decoded, that stay in memory for the next epoch


@dataclass
class _Raw:
    """A batch as read: images (n, h, w, C), the label's rows (boxes, 8) or labels (n,), and what is mirrored (n,)."""

    images: Tensor
    label: Tensor
    mirrored: NDArray[np.bool_]


@dataclass(frozen=True)
class _Item:
    """One item of a batch: its pixels (C, h, w), its boxes, and where they came from."""

    pixels: Image
    labelled: Labelled
    picture: Picture


@dataclass(frozen=True)
class _Seen:
    """One item of a batch before its boxes are told: the picture, and what the net sees of it."""

    picture: Picture
    cropped: Cropped

    @property
    def pixels(self) -> Image:
        return self.cropped.pixels

    def without_pixels(self) -> _Seen:
        return _Seen(replace(self.picture, pixels=_NONE), replace(self.cropped, pixels=_NONE))


class PictureFeed(Seeded):
    """Batches of `source` in `order`, through `pipeline`; see `sdcaffe.data.feed.Batches`.

    A batch is images float32 (n, C, h, w) and, where the records have annotations, the rows of all their
    boxes (1, 1, boxes, 8), or one row of -1, or what `label` makes of pictures and boxes, else labels (n,). Raises
    DataError.
    """

    def __init__(
        self,
        source: PictureSource,
        pipeline: Pipeline | DrawnPipelines,
        transform: proto.TransformationParameter,
        order: Order,
        *,
        prefetch: int,
        typed: bool,
        label: Callable[[list[Picture], list[Labelled]], Tensor] | None = None,
    ) -> None:
        self.source, self.pipeline, self.order, self.typed = source, pipeline, order, typed
        self._labels = label or (lambda pictures, labelled: rows(labelled))
        self._ahead: Prefetcher[_Raw] = Prefetcher(prefetch, f"prefetch {source.where}")
        self._memory = Recycler()
        self._kind: torch.dtype | None = None  # that batches are read in: the net's on a CPU, else what is smallest
        self._kept: dict[int, _Item | Picture] = {}  # a Picture: as far as chance has no part in it
        self._room, self._lock = KEPT_BYTES, threading.Lock()
        first = source.reader(order.first)()
        self.size: Size = self._size(first)
        self.first_boxes = max(len(first.labelled), 1)
        self.typed = typed or first.typed
        self.transform, self.normaliser = transform, normaliser_of(transform)
        self._check_mean(first.where)

    def _check_mean(self, where: str) -> None:
        image, values = self.normaliser.mean_image, self.normaliser.mean_value
        mean = tuple(image.permute(2, 0, 1).shape) if image is not None else self.size
        if mean != self.size:
            raise DataError(f"the mean image is {show(mean)}, but what the net sees {show(self.size)}", where)
        if len(values) not in (0, 1, self.size[0]):
            raise DataError(f"{len(values)} mean_values for {self.size[0]} channels; give one, or one a channel", where)

    def _size(self, picture: Picture) -> Size:
        channels, height, width = picture.pixels.shape
        return self.pipeline.of_batch(0, self.order.seed).size(channels, height, width)

    def batch(self, k: int, device: torch.device) -> tuple[Tensor, ...]:
        items = [self._kept.get(index) for index in self.order.indices(k).tolist()] if device.type == "cpu" else []
        ready = [item for item in items if isinstance(item, _Item) and item.pixels.shape == self.size]
        if items and len(ready) == len(items):
            return self._from_memory(ready)
        self._kind = torch.float32 if device.type == "cpu" else None
        raw = self._ahead.get(k, self._read)
        windows = windows_of(raw.mirrored, self.transform)
        if raw.images.dtype == torch.float32 and device.type == "cpu":
            return self.normaliser.centred(raw.images, windows), raw.label
        pixels = raw.images.permute(0, 3, 1, 2).to(device, non_blocking=True)
        return self.normaliser.normalise(pixels, windows), raw.label.to(device)

    def _from_memory(self, items: list[_Item]) -> tuple[Tensor, ...]:
        """The batch of items that are kept: their bytes become its numbers without a batch of bytes between."""
        channels, height, width = self.size
        images = self.normaliser.memory.empty((len(items), height, width, channels), torch.float32)
        for target, item in zip(images.unbind(), items, strict=True):
            target.copy_(torch.from_numpy(item.pixels.transpose(1, 2, 0)))
        windows = windows_of(np.zeros(len(items), bool), self.transform)
        return self.normaliser.centred(images, windows), self._label(items)

    def _label(self, items: list[_Item]) -> Tensor:
        if self.typed:
            return self._labels([item.picture for item in items], [item.labelled for item in items])
        return torch.tensor([item.picture.label for item in items], dtype=torch.float32)

    def _read(self, k: int) -> _Raw:
        """Batch `k`; runs in several threads at once.

        Records come first and boxes last: in short steps, a batch's are quicker together than each between the pixels
        of two images.
        """
        pipeline, indices = self.pipeline.of_batch(k, self.order.seed), self.order.indices(k).tolist()
        draws = self.pipeline.draws_before_crop or self.pipeline.draws_crop
        readers = [self._kept.get(index) or self.source.reader(index) for index in indices]
        seen: list[_Item | _Seen] = []
        images = torch.empty(0)
        for i, (index, reader) in enumerate(zip(indices, readers, strict=True)):
            one = self._seen(pipeline, Dice(self.order.seed, k, i, self.order.rank), index, reader)
            if not i:
                channels, height, width = one.pixels.shape
                kind = self._kind or (torch.uint8 if one.pixels.dtype == np.uint8 else torch.float32)
                images = self._memory.empty((len(indices), height, width, channels), kind)
            elif one.pixels.shape != (channels, height, width):
                raise DataError(
                    f"is {show(one.pixels.shape)}, but the first of its batch {show((channels, height, width))} "
                    "(channels x height x width); set resize_param, or batch_size: 1",
                    one.picture.where,
                )
            fill(images[i].numpy(), one.pixels)
            if isinstance(one, _Seen) and (draws or one.pixels.nbytes > self._room):
                one = one.without_pixels()  # the next image's find their memory
            seen.append(one)
        mirrored = np.array([isinstance(one, _Seen) and one.cropped.mirrored for one in seen], bool)
        return _Raw(images, self._label(self._finished(pipeline, seen, indices)), mirrored)

    def _seen(
        self, pipeline: Pipeline, dice: Dice, index: int, kept: _Item | Picture | Callable[[], Picture]
    ) -> _Item | _Seen:
        """What the net sees of record `index`; what comes before any draw of chance is kept for the next time."""
        if isinstance(kept, _Item):
            return kept
        known = isinstance(kept, Picture)
        picture = kept if isinstance(kept, Picture) else kept()
        drawn = self.pipeline.draws_before_crop
        prepared = picture if known and not drawn else pipeline.prepared(picture, dice)
        self._check_annotated(prepared)
        if not known and (drawn or self.pipeline.draws_crop):
            self._keep(index, picture if drawn else prepared)
        return _Seen(prepared, pipeline.cropped(prepared, dice))

    def _finished(self, pipeline: Pipeline, batch: list[_Item | _Seen], indices: list[int]) -> list[_Item]:
        seen = [one for one in batch if isinstance(one, _Seen)]
        labelled = iter(pipeline.labelled([one.picture for one in seen], [one.cropped for one in seen]) if seen else ())
        items = []
        for one, index in zip(batch, indices, strict=True):
            if isinstance(one, _Seen):
                item = _Item(one.pixels, next(labelled), one.picture)
                if item.pixels.size:
                    self._keep(index, item)
            else:
                item = one
            items.append(item)
        return items

    def _check_annotated(self, picture: Picture) -> None:
        if self.typed and not picture.typed:
            raise DataError("has no type of annotation, as others of the database have", picture.where)
        if not self.typed and picture.label is None:
            raise DataError("has neither annotations nor a label", picture.where)

    def _keep(self, index: int, found: _Item | Picture) -> None:
        """Its pixels alone, in the order in which a batch has them."""
        size = found.pixels.nbytes
        with self._lock:
            if size > self._room or index in self._kept:
                return
            self._room -= size
        if not isinstance(found, Picture):
            pixels: Any = np.ascontiguousarray(found.pixels.transpose(1, 2, 0)).transpose(2, 0, 1)
            found = replace(found, pixels=pixels, picture=replace(found.picture, pixels=pixels))
        self._kept[index] = found

    def close(self) -> None:
        """Stop the threads and let go of the source."""
        self._ahead.stop()
        self._kept.clear()
        self.source.close()


def rows(found: list[Labelled]) -> Tensor:
    """The label blob of a batch: item, label, instance, xmin, ymin, xmax, ymax, difficult; (1, 1, boxes, 8)."""
    table = np.empty((sum(map(len, found)), 8), np.float32)
    end = 0
    for item, own in enumerate(found):
        part = table[end : (end := end + len(own))]
        part[:, 0], part[:, 1:3], part[:, 3:7], part[:, 7:] = item, own.facts[:, :2], own.boxes, own.facts[:, 2:]
    return torch.from_numpy(table if len(table) else np.full((1, 8), -1, np.float32))[None, None]
