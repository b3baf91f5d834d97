"""Builds the next batches in worker threads, in order. What is built ahead is dropped freely: no state here."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Batch = TypeVar("Batch")


class Prefetcher(Generic[Batch]):
    """`get(k)` is `build(k)`, which threads have started on when k follows the k before it.

    `depth` batches are built ahead; `build` runs in several threads at once. An error of `build` is
    raised by the `get` that asks for that batch. Asking for another k than the next one starts afresh.
    """

    def __init__(self, build: Callable[[int], Batch], depth: int, name: str) -> None:
        self._build, self._depth = build, depth
        self._pool = ThreadPoolExecutor(max_workers=min(depth, os.cpu_count() or 1, 4), thread_name_prefix=name)
        self._ahead: deque[tuple[int, Future[Batch]]] = deque()

    def get(self, k: int) -> Batch:
        if not self._ahead or self._ahead[0][0] != k:
            self._drop()
        while len(self._ahead) <= self._depth:
            number = k + len(self._ahead)
            self._ahead.append((number, self._pool.submit(self._build, number)))
        _, batch = self._ahead.popleft()
        return batch.result()

    def _drop(self) -> None:
        for _, batch in self._ahead:
            batch.cancel()
        self._ahead.clear()

    def close(self) -> None:
        """Stop the threads; returns once none runs."""
        self._drop()
        self._pool.shutdown(wait=True)
