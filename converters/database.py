"""Writes databases of Datums, LMDB or LevelDB, whole or not at all. Reading them is `sdcaffe.data`'s work."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import lmdb

from sdcaffe.errors import DataError
from sdcaffe.log import glog

BATCH = 1000  # records in one transaction, as in Caffe's tools

_FIRST_MAP = 1 << 26  # bytes; doubled whenever a transaction does not fit
_LONGEST_KEY = 511  # LMDB's


class Writer(Protocol):
    """A database that is being made."""

    def put(self, records: list[tuple[bytes, bytes]]) -> None:
        """Add records, key and value, in one transaction."""
        ...

    def close(self) -> None: ...


class _Lmdb:
    def __init__(self, path: str) -> None:
        self._path = path
        self._env = lmdb.open(path, map_size=_FIRST_MAP, mode=0o664, sync=False)

    def put(self, records: list[tuple[bytes, bytes]]) -> None:
        for key, _ in records:
            if len(key) > _LONGEST_KEY:
                raise DataError(f"the key {key[:60]!r}... has {len(key)} bytes; LMDB takes at most {_LONGEST_KEY}")
        while not self._fits(records):
            self._env.set_mapsize(2 * self._env.info()["map_size"])

    def _fits(self, records: list[tuple[bytes, bytes]]) -> bool:
        try:
            with self._env.begin(write=True) as transaction:
                for key, value in records:
                    transaction.put(key, value)
        except lmdb.MapFullError:
            return False
        return True

    def close(self) -> None:
        self._env.sync(True)
        self._env.close()


class _LevelDb:
    def __init__(self, path: str) -> None:
        try:
            import plyvel
        except ImportError as error:
            raise DataError("writing a LevelDB needs the package plyvel: pip install plyvel", path) from error
        self._db = plyvel.DB(
            path, create_if_missing=True, error_if_exists=True, write_buffer_size=1 << 28, block_size=1 << 16
        )

    def put(self, records: list[tuple[bytes, bytes]]) -> None:
        with self._db.write_batch(transaction=True) as batch:
            for key, value in records:
                batch.put(key, value)

    def close(self) -> None:
        self._db.close()


_WRITERS: dict[str, tuple[type[_Lmdb] | type[_LevelDb], str]] = {
    "lmdb": (_Lmdb, "db_lmdb.cpp:35"),
    "leveldb": (_LevelDb, "db_leveldb.cpp:18"),
}
BACKENDS = tuple(_WRITERS)


@contextmanager
def new_database(path: str, backend: str) -> Iterator[Writer]:
    """A new database, `backend` one of BACKENDS, which is at `path` once the block has ended well, and not before.

    It is made in a folder beside it under a temporary name, which goes if the block raises. Raises DataError
    where `path` exists already or cannot be written.
    """
    target = os.path.abspath(path)
    _refuse_existing(target, path)
    temporary = f"{target}.{secrets.token_hex(4)}.tmp"
    kind, tag = _WRITERS[backend]
    try:
        os.makedirs(temporary)
        try:
            writer = kind(temporary)
            glog(tag, f"Opened {backend} {path}")
            try:
                yield writer
            finally:
                writer.close()
            _refuse_existing(target, path)
            os.rename(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except (OSError, lmdb.Error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
        raise DataError(f"the database cannot be written: {reason}", path) from error


def _refuse_existing(target: str, path: str) -> None:
    if os.path.lexists(target):
        raise DataError(
            "is there already, and a database is never written over: remove it or choose another name", path
        )
