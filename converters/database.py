"""Writes databases of Datums, LMDB or LevelDB, whole or not at all. Reading them is `sdcaffe.data`'s work."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import lmdb

from sdcaffe.converters.folder import new_folder
from sdcaffe.errors import DataError
from sdcaffe.log import glog

BATCH = 1000  # records in one transaction, as in Caffe's tools

_FIRST_MAP = 1 << 26  # bytes; doubled whenever a transaction does not fit
_LONGEST_KEY = 511  # LMDB's


class Writer(Protocol):
    """A database that is being made; `count` records are in it, some maybe from a run that was interrupted."""

    count: int

    def put(self, records: list[tuple[bytes, bytes]]) -> None:
        """Add records, key and value, in one transaction."""
        ...

    def close(self) -> None: ...


class _Lmdb:
    """The same transactions give the same file, byte for byte, in one run or in several.

    Hence the environment is opened for each: LMDB leaves in the unused parts of a page what was in the memory that it
    takes up again, which after an interruption would be something else.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        begun = os.path.exists(os.path.join(path, "data.mdb"))
        self._map_size = 0 if begun else _FIRST_MAP  # 0: as the file says
        with self._open() as env:
            self.count = env.stat()["entries"]

    def _open(self) -> lmdb.Environment:
        return lmdb.open(os.fsencode(self._path), map_size=self._map_size, mode=0o664)

    def put(self, records: list[tuple[bytes, bytes]]) -> None:
        for key, _ in records:
            if len(key) > _LONGEST_KEY:
                raise DataError(f"the key {key[:60]!r}... has {len(key)} bytes; LMDB takes at most {_LONGEST_KEY}")
        while not self._fits(records):
            pass
        self.count += len(records)

    def _fits(self, records: list[tuple[bytes, bytes]]) -> bool:
        """Add the records, or double the map for the next trial."""
        with self._open() as env:
            self._map_size, held = env.info()["map_size"], env.stat()
            pages = held["branch_pages"] + held["leaf_pages"] + held["overflow_pages"]
            if pages * held["psize"] + sum(len(value) for _, value in records) > self._map_size:
                self._map_size *= 2  # and nothing is tried in vain
                return False
            try:
                with env.begin(write=True) as transaction:
                    for key, value in records:
                        transaction.put(key, value)
            except lmdb.MapFullError:
                self._map_size *= 2
                return False
            return True

    def close(self) -> None:
        """Nothing is open."""


class _LevelDb:
    def __init__(self, path: str) -> None:
        try:
            import plyvel
        except ImportError as error:
            raise DataError("writing a LevelDB needs the package plyvel: pip install plyvel", path) from error
        self._error = plyvel.Error
        self.count = 0
        with self._told():
            self._db = plyvel.DB(
                os.fsencode(path),
                create_if_missing=True,
                error_if_exists=True,
                write_buffer_size=1 << 28,
                block_size=1 << 16,
            )

    def put(self, records: list[tuple[bytes, bytes]]) -> None:
        with self._told(), self._db.write_batch(transaction=True) as batch:
            for key, value in records:
                batch.put(key, value)
        self.count += len(records)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """LevelDB's errors as OSErrors of their reason alone; plyvel's are bytes: IO error: FILE: reason."""
        try:
            yield
        except self._error as error:
            raise OSError(error.args[0].decode(errors="backslashreplace").rpartition(": ")[2]) from error

    def close(self) -> None:
        self._db.close()


_WRITERS: dict[str, tuple[type[_Lmdb] | type[_LevelDb], str]] = {
    "lmdb": (_Lmdb, "db_lmdb.cpp:35"),
    "leveldb": (_LevelDb, "db_leveldb.cpp:18"),
}
BACKENDS = tuple(_WRITERS)


@contextmanager
def new_database(path: str, backend: str, job: str = "") -> Iterator[Writer]:
    """A new database, `backend` one of BACKENDS, which is at `path` once the block has ended well, and not before.

    Given a `job` (what is being written, in words that differ where the records do), an LMDB that was interrupted is
    gone on with by the next call of the same job: the writer's `count` says how far it is. Raises DataError where
    `path` exists already or cannot be written.
    """
    kind, tag = _WRITERS[backend]
    try:
        with new_folder(path, "database", job if kind is _Lmdb else "") as folder:
            writer = kind(folder)
            glog(tag, f"Opened {backend} {path}")
            try:
                yield writer
            finally:
                writer.close()
    except lmdb.Error as error:
        full = " (the disk is full, or broken)" if "Input/output error" in str(error) else ""
        raise DataError(f"the database cannot be written: {' '.join(str(error).split())}{full}", path) from error
