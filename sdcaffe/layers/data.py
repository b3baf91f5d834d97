"""Data: labelled images from a database, CIFAR or the embedded set, transformed as Caffe does."""

from __future__ import annotations

import logging
from typing import Any, Protocol

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.data.decode import too_large
from sdcaffe.data.feed import Batches, Feed
from sdcaffe.data.opening import open_source
from sdcaffe.data.order import Order, default_seed, permutation, shard
from sdcaffe.data.transformer import Transformer
from sdcaffe.layers.base import DataLayer, Shape, register
from sdcaffe.log import glog


class Reading(Protocol):
    """The fields of a message that say how a source is read."""

    batch_size: int
    shuffle: bool
    rand_skip: int


class FeedLayer(DataLayer):
    """What Data and ImageData share: tops are images (n, C, h, w) and, where asked for, labels (n,).

    `cursor` and `seed` are all the state there is.
    """

    feed: Batches | None = None
    tag: str = ""

    @property
    def seed(self) -> int:
        """Decides shuffling, rand_skip and the transformer's draws; set it to repeat another run's."""
        return self._running().seed

    @seed.setter
    def seed(self, seed: int) -> None:
        self._running().seed = seed

    def _running(self) -> Batches:
        if self.feed is None:
            raise self.error("reads data only between setup and close")
        return self.feed

    def _start(self, source: Any, seed: int, *, prefetch: int) -> list[Shape]:
        """Begin to feed from `source`, or let go of it where that cannot be."""
        try:
            self.feed = self._make_feed(source, seed, prefetch)
        except BaseException:
            source.close()
            raise
        return self._shapes()

    def _check_size(self, high: str, wide: str, message: Any) -> None:
        """Raise LayerError for a height and a width, fields of a message, if one is missing or both are too large."""
        height, width = getattr(message, high), getattr(message, wide)
        if (height > 0) != (width > 0):
            raise self.error(f"{high} {height} and {wide} {width}: give both or neither", high if height else wide)
        if words := too_large(height, width):
            raise self.error(f"{high} would make {words}", high)

    def _make_feed(self, source: Any, seed: int, prefetch: int) -> Batches:
        transformer = Transformer(self.layer_param.transform_param, self.phase)
        return Feed(source, transformer, self._order(len(source), seed), prefetch=prefetch)

    @property
    def reading(self) -> Reading:
        """The message that says how the source is read: its batch_size, shuffle and rand_skip."""
        return self.param

    def _order(self, count: int, seed: int) -> Order:
        """The order of the source's `count` images. Raises LayerError where rand_skip leaves none."""
        param = self.reading
        rank, world = shard(self.phase)
        order = Order(
            count,
            param.batch_size,
            seed=seed,
            shuffle=(lambda seed, epoch: permutation(seed, epoch, count)) if param.shuffle else None,
            rand_skip=param.rand_skip,
            rank=rank,
            world=world,
        )
        if order.skip >= count:
            raise self.error(f"rand_skip skips {order.skip} of only {count} images", "rand_skip")
        self.item_count = count
        if order.skip:
            glog(f"{self.tag}:70", f"Skipping first {order.skip} data points.")
        return order

    def _shapes(self) -> list[Shape]:
        n = self.reading.batch_size
        return [(n, *self._running().size), (n,)][: len(self.layer_param.top)]

    def next_batch(self, device: torch.device) -> tuple[Tensor, ...]:
        feed = self._running()
        batch = feed.batch(self.cursor, device)
        if feed.order.restarts(self.cursor):
            glog(f"{self.tag}:73", "Restarting data prefetching from start.")
        self.cursor += 1
        return batch[: len(self.layer_param.top)]

    def close(self) -> None:
        if self.feed is not None:
            self.feed.close()
            self.feed = None


@register("Data", field="data_param")
class Data(FeedLayer):
    """Batch k is items k * batch_size .. of the source, which begins again at its end, as in Caffe.

    `shuffle` draws the order of each epoch from `seed`. The source is a database of Datums or one of the
    names that `open_source` knows; relative paths are relative to the current directory.
    """

    param: proto.DataParameter
    tops = (1, 2)
    tag = "data_layer.cpp"

    brings = "images"

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        if self.feed is not None:
            return self._shapes()
        param = self.param
        if param.batch_size < 1:
            raise self.error(f"batch_size is {param.batch_size}; it must be 1 or more", "batch_size")
        if param.prefetch < 1:
            raise self.error(f"prefetch is {param.prefetch}; it must be 1 or more", "prefetch")
        if not param.source:
            raise self.error("data_param has no source", "data_param")
        seed = param.seed if param.HasField("seed") else default_seed(self.name)
        transform = self.layer_param.transform_param
        color = "color" if transform.force_color else "gray" if transform.force_gray else "native"
        backend = "LMDB" if param.backend == proto.DataParameter.LMDB else "LEVELDB"
        source = open_source(param.source, backend, color=color, param=param)
        if color != "native" and not source.encoded:
            logging.getLogger("sdcaffe").warning("force_color and force_gray only for encoded datum")
        shapes = self._start(source, seed, prefetch=param.prefetch)
        self.class_names = source.class_names
        glog("data_layer.cpp:45", f"output data size: {','.join(str(n) for n in shapes[0])}")
        return shapes
