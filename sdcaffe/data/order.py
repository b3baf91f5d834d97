"""Which items make batch k: pure functions of k and a seed, so that a run resumes from one number."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from sdcaffe import proto
from sdcaffe.collectives import rank_and_world

Indices = NDArray[np.int64]

# Streams of one seed. Different uses never share a draw.
ORDER, DRAWS, SKIP, FILES = range(4)


def random_draws(seed: int, stream: int, index: int, count: int, rank: int = 0) -> NDArray[np.uint64]:
    """`count` random 64-bit numbers that depend on the arguments alone, on every machine.

    Philox is counter based, so draw k needs no draw before it; the raw output is used because only that
    is promised to stay the same between versions of numpy.
    """
    key = np.array([seed % 2**64, stream], np.uint64)
    generator = np.random.Philox(key=key, counter=np.array([0, index, rank, 0], np.uint64))
    draws: NDArray[np.uint64] = np.asarray(generator.random_raw(count), dtype=np.uint64)
    return draws


def permutation(seed: int, epoch: int, count: int, stream: int = ORDER) -> Indices:
    """The order of `count` items in epoch `epoch`: a permutation, read-only."""
    order: Indices = np.argsort(random_draws(seed, stream, epoch, count), kind="stable").astype(np.int64)
    order.setflags(write=False)
    return order


class Order:
    """Batch k holds the items at positions k * batch .. of an endless sequence of epochs.

    Unshuffled, the sequence is the items in their own order again and again, as Caffe reads a database;
    an epoch may end inside a batch. `shuffle` (seed, epoch) gives the order of each epoch; with it, no
    item comes twice within one epoch. `rand_skip` drops 0 to rand_skip - 1 items once, at the start. Of
    several processes, each takes every `world`th position, as Caffe's solvers share a database.
    """

    def __init__(
        self,
        count: int,
        batch: int,
        *,
        seed: int = 0,
        shuffle: Callable[[int, int], Indices] | None = None,
        rand_skip: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.count, self.batch, self.rank, self.world = count, batch, rank, world
        self.seed, self.rand_skip = seed, rand_skip
        self.shuffle = shuffle and functools.lru_cache(maxsize=2)(shuffle)  # an epoch's order serves all its batches

    @property
    def skip(self) -> int:
        """How many items are dropped at the start."""
        if not self.rand_skip:
            return 0
        return int(random_draws(self.seed, SKIP, 0, 1)[0] % np.uint64(self.rand_skip))

    @property
    def first(self) -> int:
        """The first item of batch 0, without the others: a batch may be of any size."""
        epoch, offset = divmod(self.skip + self.rank, self.count)
        return offset if self.shuffle is None else int(self.shuffle(self.seed, epoch)[offset])

    def indices(self, k: int) -> Indices:
        """The items of batch `k`."""
        item = np.arange(k * self.batch, (k + 1) * self.batch, dtype=np.int64)
        epochs, offsets = np.divmod(self.skip + item * self.world + self.rank, self.count)
        if self.shuffle is None:
            return offsets
        items = np.empty_like(offsets)
        for epoch in range(int(epochs[0]), int(epochs[-1]) + 1):
            inside = epochs == epoch
            items[inside] = self.shuffle(self.seed, epoch)[offsets[inside]]
        return items

    def restarts(self, k: int) -> bool:
        """Whether batch `k` takes the last item of an epoch (Caffe then says that it starts again)."""
        step = self.batch * self.world
        return (self.skip + k * step) // self.count != (self.skip + (k + 1) * step) // self.count


def default_seed(layer_name: str) -> int:
    """The seed of a layer whose prototxt gives none: torch's (the solver's random_seed) and its name."""
    return int(torch.initial_seed()) % 2**64 ^ zlib.crc32(layer_name.encode()) << 32


def shard(phase: int) -> tuple[int, int]:
    """(rank, world) of this process; in the TEST phase every process reads everything."""
    return rank_and_world() if phase == proto.TRAIN else (0, 1)
