"""Writes files and folders whole or not at all, and clears what killed writers left. Knows no format.

What is being written has a name of its own, TARGET.xxxxxxxx.tmp, and a lock that the system takes from a dead process:
what nobody holds is left over, and the next writer of TARGET removes it.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from sdcaffe.errors import SdcaffeError
from sdcaffe.reading import StrPath

if sys.platform != "win32":
    import fcntl

_TEMPORARY = re.compile(r"\.[0-9a-f]{8}\.tmp")


@contextmanager
def atomic_write(path: StrPath, error: type[SdcaffeError] = SdcaffeError) -> Iterator[BinaryIO]:
    """A binary file that takes the place of `path` when the block ends, and not before.

    What is written goes to a temporary name in the same directory, is flushed to the disk and renamed. If
    the block raises, the temporary file is removed and an older `path` stays as it was. Something that is
    no regular file (a terminal, a pipe) is written directly. Raises `error` where writing fails.
    """
    try:
        target = os.path.realpath(path)
        direct = os.path.exists(target) and not stat.S_ISREG(os.stat(target).st_mode)
    except OSError as problem:
        raise error(f"cannot be written: {problem.strerror}", str(path)) from None
    except ValueError:
        raise error("cannot be written: no file can have such a name", str(path)) from None
    try:
        if direct:
            with _direct(target) as file:
                yield file
            return
        with temporary_file(target) as name, open(name, "r+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(name, target)
    except OSError as problem:
        raise error(f"cannot be written: {problem.strerror or problem}", str(path)) from None
    _flush_directory(os.path.dirname(target))


@contextmanager
def temporary_file(target: str) -> Iterator[str]:
    """The name of a new, empty file beside `target`, for it to be written; what has not been renamed at the end goes.

    What killed writers of `target` left goes first. Raises OSError.
    """
    clear(os.path.dirname(target) or ".", os.path.basename(target).__eq__)
    name, descriptor = _claimed(target, lambda name: os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666))
    try:
        yield name
    finally:
        if is_at(descriptor, name):
            os.unlink(name)
        os.close(descriptor)


@contextmanager
def temporary_folder(target: str) -> Iterator[str]:
    """`temporary_file`, for a folder."""
    clear(os.path.dirname(target) or ".", os.path.basename(target).__eq__)

    def make(name: str) -> int:
        os.mkdir(name)
        return os.open(name, os.O_RDONLY)

    name, descriptor = _claimed(target, make)
    try:
        yield name
    finally:
        ours = is_at(descriptor, name)
        os.close(descriptor)  # first: what has come to the limit of open files needs one to empty the folder
        if ours:
            shutil.rmtree(name, ignore_errors=True)


def make_folders(path: StrPath) -> None:
    """The folder `path` with all above it, or none of them. Raises OSError, and ValueError for a zero byte."""
    missing, above = [], os.fspath(path)
    with suppress(FileNotFoundError, NotADirectoryError):
        os.lstat(above)  # raises for a name that no file has
    while above and not os.path.lexists(above):
        missing.append(above)
        above = os.path.dirname(above.rstrip("/"))
    if above and not os.path.isdir(above):
        code = errno.ENOTDIR if missing else errno.EEXIST
        raise OSError(code, os.strerror(code), above)
    made: list[str] = []
    try:
        for folder in reversed(missing):
            try:
                os.mkdir(folder)
                made.append(folder)
            except FileExistsError:  # another process may have been quicker
                if not os.path.isdir(folder):
                    raise
    except OSError:
        for folder in reversed(made):
            with suppress(OSError):  # another process has put something in it
                os.rmdir(folder)
        raise


def clear(folder: str, is_target: Callable[[str], bool]) -> None:
    """Remove what killed writers left in `folder` of targets whose names `is_target` knows. What is held stays."""
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        match = _TEMPORARY.search(name)
        if match and match.end() == len(name) and is_target(name[: match.start()]):
            _clear_one(os.path.join(folder, name))


def lock(descriptor: int) -> bool | None:
    """Hold what a descriptor has open until it is closed or this process ends; False where another holds it.

    None: this system, or this file system, has no such locks.
    """
    if sys.platform == "win32":  # where so nothing is cleared
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _clear_one(path: str) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError:  # a link, or it went meanwhile
        return
    try:
        if lock(descriptor) and is_at(descriptor, path):
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                shutil.rmtree(path, ignore_errors=True)
            else:
                os.unlink(path)
    except OSError:  # a folder that may not be written to
        pass
    finally:
        os.close(descriptor)


def _claimed(target: str, make: Callable[[str], int]) -> tuple[str, int]:
    """A new temporary name of `target`, and the descriptor that holds it."""
    while True:
        name = f"{target}.{secrets.token_hex(4)}.tmp"
        descriptor = make(name)
        if lock(descriptor) is not False and is_at(descriptor, name):
            return name, descriptor
        os.close(descriptor)  # another writer of the target found it before it was held


def is_at(descriptor: int, path: str) -> bool:
    """Whether what a descriptor has open is what stands at `path`."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except OSError:
        return False


@contextmanager
def _direct(target: str) -> Iterator[BinaryIO]:
    """A pipe that nobody reads is an error, and is not waited for."""
    descriptor = os.open(target, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0))
    os.set_blocking(descriptor, True)
    with open(descriptor, "wb") as file:
        yield file


def _flush_directory(directory: str) -> None:
    """Make a rename last through a power failure, where the system can."""
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)
