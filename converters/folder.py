"""Folders that are there once they are whole, made under a name of their own until then. Knows nothing of contents."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sdcaffe.errors import DataError
from sdcaffe.writing import lock, make_folders, temporary_folder

_JOB = "job"


@contextmanager
def new_folder(path: str, what: str, job: str = "") -> Iterator[str]:
    """A folder, a `what`, that takes the name `path` when the block ends well; the block gets where it is till then.

    It goes if the block raises. With a `job`, a text of what is being made, it stays where the process is killed or
    interrupted, as PATH.partial, and the next call with the same job gets it as it was left; another job begins anew.
    Raises DataError where `path` exists already, cannot be written, or is being made by another process, and where
    PATH.partial is something else.
    """
    target = os.path.abspath(path)
    _refuse_existing(target, path, what)
    try:
        if not job:
            make_folders(os.path.dirname(target))
            with temporary_folder(target) as temporary:
                yield temporary
                _refuse_existing(target, path, what)
                os.rename(temporary, target)
            return
        temporary = f"{target}.partial"
        _refuse_foreign(temporary, what)
        make_folders(temporary)
        try:
            held = _claim(temporary, path, job)
        except OSError:
            _remove(temporary)
            raise
        failed = False
        try:
            yield temporary
            _refuse_existing(target, path, what)
            os.rename(temporary, target)
            os.unlink(os.path.join(target, _JOB))
        except Exception:
            failed = True
            _remove(temporary)
            raise
        finally:
            os.close(held)
            if failed:  # once more: there may have been no handle to look into it with
                _remove(temporary)
    except OSError as error:
        raise DataError(f"the {what} cannot be written: {error.strerror or error}", path) from error


def _remove(folder: str) -> None:
    """A folder and what it holds, as far as may be. One that may not be read goes where it is empty."""
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):
        os.rmdir(folder)


def _claim(folder: str, path: str, job: str) -> int:
    """Empty `folder` unless it holds what this job left. Returns a descriptor that bars others until it is closed."""
    descriptor = os.open(os.path.join(folder, _JOB), os.O_RDWR | os.O_CREAT, 0o664)
    try:
        if lock(descriptor) is False:
            raise DataError("is being made by another process", path)
        begun = os.read(descriptor, len(job.encode()) + 1)
        if begun != job.encode():
            for name in os.listdir(folder):
                if name != _JOB:
                    os.unlink(os.path.join(folder, name))
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, job.encode(), 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _refuse_foreign(folder: str, what: str) -> None:
    """Raise DataError for something at `folder` that no call of `new_folder` left there."""
    if os.path.isdir(folder) and not os.path.islink(folder):
        names = os.listdir(folder)
        if not names or _JOB in names:
            return
    elif not os.path.lexists(folder):
        return
    raise DataError(f"is in the way: the {what} is made here, and this is no interrupted one. Remove it", folder)


def _refuse_existing(target: str, path: str, what: str) -> None:
    if os.path.lexists(target):
        raise DataError(f"is there already, and a {what} is never written over: remove it or choose another name", path)
