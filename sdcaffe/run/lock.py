"""One run at a time for a snapshot_prefix: PREFIX.lock, held while it trains and gone when it ends.

The system takes the lock from a dead process, so what a kill left bars nobody. Where a file system has no locks, there
is none.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sdcaffe import writing
from sdcaffe.errors import SolverError

_ours: set[str] = set()  # what this process holds: its own runs do not bar one another


class Held(SolverError):
    """Another process trains with this snapshot_prefix."""


@contextmanager
def holding(prefix: str) -> Iterator[None]:
    """Hold the snapshot_prefix while the context lasts. Raises Held where another process does."""
    path = f"{os.path.realpath(prefix)}.lock"
    if path in _ours:
        yield
        return
    writing.make_folders(os.path.dirname(prefix) or ".")
    descriptor = _claimed(path, prefix)
    _ours.add(path)
    try:
        yield
    finally:
        _ours.discard(path)
        if writing.is_at(descriptor, path):  # its folder may have gone
            os.unlink(path)
        os.close(descriptor)


def _claimed(path: str, prefix: str) -> int:
    """A descriptor that holds what stands at `path`: not what another run has just removed from there."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        if writing.lock(descriptor) is False:
            holder = os.read(descriptor, 20).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise Held(
                f'another run trains with snapshot_prefix "{prefix}" (process {holder or "unknown"}); wait for its '
                "end, or give this one a prefix of its own",
                path,
            )
        try:
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                with suppress(OSError):  # on a full disk the lock holds without the number
                    os.ftruncate(descriptor, 0)
                    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
                return descriptor
        except FileNotFoundError:
            pass
        os.close(descriptor)
