"""Memory for batches that is used again once no tensor is on it any more; it does not decide what is kept.

Fresh memory costs a page fault for every 4 KiB that is written, more than the arithmetic on a batch of images does.
"""

from __future__ import annotations

import math
import weakref

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Recycler:
    """CPU tensors of memory that comes back when the last tensor on it is gone.

    Only memory of the size asked for last is kept. May be called from several threads.
    """

    def __init__(self) -> None:
        self._free: list[NDArray[np.uint8]] = []

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """A contiguous tensor of any content."""
        size = math.prod(shape) * dtype.itemsize
        memory = self._take(size)
        loan = memory[:]  # torch holds it as long as a tensor, or a view of one, is on it
        weakref.finalize(loan, self._free.append, memory).atexit = False
        return torch.from_numpy(loan).view(dtype).view(shape)

    def _take(self, size: int) -> NDArray[np.uint8]:
        while True:
            try:
                memory = self._free.pop()
            except IndexError:
                return np.empty(size, np.uint8)
            if len(memory) == size:
                return memory
