"""Opens files that a user or another file names: regular ones only, no larger than memory. Knows no format.

A device or a pipe may have no end, and a pipe without a writer is waited for: neither is ever opened.
"""

from __future__ import annotations

import errno
import os
import select
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader

from sdcaffe.errors import DataError, SdcaffeError

StrPath = str | os.PathLike[str]

_SMALL = 1 << 26  # bytes that are read without asking how much memory there is
_UNSIZED = 1 << 20  # bytes read at most of a file that does not say its size, as those of /proc
_unasked = [0]  # bytes of pieces since the system was asked
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def is_regular(path: StrPath) -> bool:
    """Whether a path leads to a regular file; False for one that leads nowhere or is no path."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def check(path: StrPath, error: type[SdcaffeError] = DataError, what: str = "", most: int | None = None) -> int:
    """The size in bytes of the regular file that `path` leads to. Opens nothing: for libraries that open by name.

    Raises `error`, "cannot read WHAT" where `what` is given, for a file that is missing, no regular one, or has more
    than `most` bytes.
    """
    try:
        return _checked(os.stat(path), path, error, what, most)
    except (OSError, ValueError) as problem:
        raise error(_said(what, _reason(problem)), str(path)) from None


@contextmanager
def opened(
    path: StrPath, error: type[SdcaffeError] = DataError, what: str = "", most: int | None = None
) -> Iterator[BufferedReader]:
    """The file that `path` leads to, open to be read; what goes wrong while the context lasts is told as of this file.

    Raises as `check`, also where it cannot be read.
    """
    check(path, error, what, most)
    try:
        # without waiting: what the path leads to may have become a pipe since
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0))
        with open(descriptor, "rb") as file:
            size = _checked(os.fstat(descriptor), path, error, what, most)
            if not size and not _has_something(descriptor):
                raise error(_said(what, "has nothing to be read yet, and is not waited for"), str(path))
            yield file
    except MemoryError:
        raise error(_said(what, "there is not enough memory for it"), str(path)) from None
    except OSError as problem:
        raise error(_said(what, _reason(problem)), str(path)) from None


def read(path: StrPath, error: type[SdcaffeError] = DataError, what: str = "", most: int | None = None) -> bytes:
    """All of a file. Raises as `opened`, also for one that has more bytes than there is memory free."""
    with opened(path, error, what, most) as file:
        return file.read(fitting(file, path, error, what) or _UNSIZED) or b""


def fitting(file: BufferedReader, path: StrPath, error: type[SdcaffeError] = DataError, what: str = "") -> int:
    """The size in bytes of an open file. Raises `error` for more than there is memory free."""
    size = os.fstat(file.fileno()).st_size
    if size > _SMALL and size > (free := free_memory()):
        raise error(_said(what, f"has {size} bytes, more than the {free} bytes of memory that are free"), str(path))
    return size


def lacking(size: int) -> int | None:
    """The bytes of memory that are free, where `size` more are none of them; None where they are.

    For what is taken piece by piece, and filled: small pieces add up until the system is asked.
    """
    _unasked[0] += size
    if _unasked[0] <= _SMALL:
        return None
    _unasked[0] = 0
    return free if size > (free := free_memory()) else None


def free_memory() -> int:
    """The bytes of memory that this process can still have: of the machine, of its group, of its own limit."""
    found = [_of_machine(), *_of_group(), *_of_process()]
    return max(0, min((size for size in found if size is not None), default=1 << 62))


def _checked(found: os.stat_result, path: StrPath, error: type[SdcaffeError], what: str, most: int | None) -> int:
    if stat.S_ISDIR(found.st_mode):
        raise error(_said(what, os.strerror(errno.EISDIR)), str(path))
    for is_kind, name in _KINDS:
        if is_kind(found.st_mode):
            raise error(_said(what, f"is {name}; a file is wanted"), str(path))
    if most is not None and found.st_size > most:
        raise error(_said(what, f"has {found.st_size} bytes; at most {most} are read"), str(path))
    return found.st_size


def _has_something(descriptor: int) -> bool:
    """Whether a file can be read at once: some of /proc, as kmsg, are regular and would be waited for."""
    if not hasattr(select, "poll"):  # Windows
        return True
    asked = select.poll()
    asked.register(descriptor, select.POLLIN)
    return bool(asked.poll(0))


def _said(what: str, reason: str) -> str:
    return f"cannot read {what}: {reason}" if what else reason


def _reason(problem: OSError | ValueError) -> str:
    if isinstance(problem, OSError):
        return problem.strerror or str(problem)
    return "no file has such a name: it has a zero byte, or letters that the system does not know"


def _of_machine() -> int | None:
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            lines = dict(line.split(":") for line in file)
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def _of_group() -> Iterator[int]:
    """The limit of the control group of this process, as of a container; what is used of it may be given back."""
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            with open(file, encoding="ascii") as stream:
                yield int(stream.read())
        except (OSError, ValueError):  # "max" where there is none
            continue


def _of_process() -> Iterator[int]:
    try:
        import resource
    except ImportError:  # Windows
        return
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            yield limit - int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return
