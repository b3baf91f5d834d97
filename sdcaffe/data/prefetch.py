"""Builds the next batches in worker threads, in order. What is built ahead is dropped freely: no state here.

Threads, not processes: decoding and copying let other threads run, batches need not cross to another process, and an
error or Ctrl-C in a thread is one here.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Batch = TypeVar("Batch")


def usable_cores() -> int:
    """How many cores this process may use: fewer than the machine has, in a container."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Prefetcher(Generic[Batch]):
    """`get(k, build)` is `build(k)`, which threads have started on when k follows the k before it.

    `depth` batches are built ahead; `build` runs in several threads at once. An error of `build` is
    raised by the `get` that asks for that batch. Asking for another k than the next one starts afresh.
    """

    def __init__(self, depth: int, name: str) -> None:
        self._depth, self._name = depth, name
        self._pool: ThreadPoolExecutor | None = None
        self._ahead: deque[tuple[int, Future[Batch]]] = deque()

    def get(self, k: int, build: Callable[[int], Batch]) -> Batch:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(min(self._depth, usable_cores()), thread_name_prefix=self._name)
        if not self._ahead or self._ahead[0][0] != k:
            self._drop()
        while len(self._ahead) <= self._depth:
            number = k + len(self._ahead)
            self._ahead.append((number, self._pool.submit(build, number)))
        _, batch = self._ahead.popleft()
        return batch.result()

    def _drop(self) -> None:
        for _, batch in self._ahead:
            batch.cancel()
        self._ahead.clear()

    def stop(self) -> None:
        """Forget what is built ahead and stop the threads; returns once none runs. The next `get` begins anew."""
        self._drop()
        if self._pool is not None:
            self._pool.shutdown(wait=True)
            self._pool = None
