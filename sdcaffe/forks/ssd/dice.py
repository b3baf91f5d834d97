"""The draws of chance for one image: a function of a seed, the batch and the place in it alone."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from sdcaffe.data.order import DRAWS


class Dice:
    """Numbers drawn one after another for item `item` of batch `batch`, of process `rank`.

    Philox's raw output: the same on every machine and with every version of numpy, and no other item's draws.
    """

    def __init__(self, seed: int, batch: int, item: int, rank: int = 0) -> None:
        self._place = seed, batch, item, rank

    @functools.cached_property
    def _bits(self) -> np.random.Philox:
        """Made when it is first drawn from: most images need no draw in a test."""
        seed, batch, item, rank = self._place
        key = np.array([seed % 2**64, DRAWS], np.uint64)
        return np.random.Philox(key=key, counter=np.array([0, batch, rank, item + 1], np.uint64))

    def uniform(self, low: float, high: float) -> float:
        """A number from `low` to `high`."""
        return low + (high - low) * (int(self._bits.random_raw()) >> 11) / 2**53

    def below(self, count: int) -> int:
        """A whole number from 0 to count - 1."""
        return int(self._bits.random_raw()) % count

    def happens(self, probability: float) -> bool:
        return self.uniform(0, 1) < probability

    def shuffled(self, count: int) -> Sequence[int]:
        """The numbers 0 to count - 1 in an order drawn."""
        return np.argsort([self.uniform(0, 1) for _ in range(count)]).tolist()
