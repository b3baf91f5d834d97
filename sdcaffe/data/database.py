"""LMDB and LevelDB folders of Datums, as Caffe's tools write them. No record is ever written; opening a
LevelDB changes its folder all the same: its library takes over what stands in the log, and keeps one of its own."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from typing import Generic, Protocol, TypeVar

import lmdb
import numpy as np
from google.protobuf.message import Message

from sdcaffe import proto, reading
from sdcaffe.data.jpeg import decode_image
from sdcaffe.data.lmdb_pages import check_pages
from sdcaffe.data.source import SOURCES, Image, Source
from sdcaffe.errors import DataError
from sdcaffe.proto import counted

_BETWEEN_LOOKS = 0.02  # seconds
_CURRENT_BYTES = 1 << 12  # of a LevelDB's CURRENT, which holds the name of one file


class Store(Protocol):
    """An open database: its keys in order, and the value of a key."""

    keys: list[bytes]

    def get(self, key: bytes) -> bytes | None: ...

    def close(self) -> None: ...


class _Lmdb:
    def __init__(self, path: str) -> None:
        file = os.path.join(path, "data.mdb") if os.path.isdir(path) else path
        if not os.path.isfile(file):
            raise _misplaced(path, "LMDB", "data.mdb")
        self._path = path
        check_pages(file, path)
        self._file = os.open(file, os.O_RDONLY)
        self._size = os.fstat(self._file).st_size
        try:
            self._env = lmdb.open(os.fsencode(path), subdir=os.path.isdir(path), readonly=True, lock=False)
        except lmdb.Error as error:
            os.close(self._file)
            if "already open in this process" in str(error):
                raise DataError(
                    "this program has the LMDB open itself; close that (env.close()) before it is read here", path
                ) from error
            raise DataError(f"this is not an LMDB that can be read: {_reason(error, path)}", path) from error
        try:
            with self._env.begin() as transaction, transaction.cursor() as cursor:
                self.keys = list(cursor.iternext(keys=True, values=False))
        except lmdb.Error as error:
            self.close()
            raise DataError(f"the LMDB is damaged: {_reason(error, path)}", path) from error

    def get(self, key: bytes) -> bytes | None:
        if os.fstat(self._file).st_size < self._size:  # what is mapped and gone would end this process: SIGBUS
            raise DataError("the LMDB became shorter while it was read: another program writes to it", self._path)
        try:
            with self._env.begin() as transaction:
                value: bytes | None = transaction.get(key)
                return value
        except lmdb.Error as error:
            raise DataError(f"the LMDB is damaged: {_reason(error, self._path)}", self._path) from error

    def close(self) -> None:
        self._env.close()
        os.close(self._file)


class _LevelDb:
    def __init__(self, path: str) -> None:
        if not os.path.exists(os.path.join(path, "CURRENT")):
            raise _misplaced(path, "LEVELDB", "CURRENT")
        for name in os.listdir(path):  # the library would wait for a pipe
            if not os.path.isdir(os.path.join(path, name)):
                reading.check(os.path.join(path, name))
        current = os.path.join(path, "CURRENT")
        with reading.opened(current) as file:  # the library would read a device without an end
            if b"/" in file.read(_CURRENT_BYTES):
                raise DataError("the LevelDB is damaged: it names a file outside its folder", current)
        try:
            import plyvel
        except ImportError as error:
            raise DataError(
                "reading a LevelDB needs the package plyvel: pip install plyvel, or convert the database to LMDB",
                path,
            ) from error
        self._path, self._error = path, plyvel.Error
        self._sizes: dict[str, int] = {}
        self._next_look = 0.0
        try:  # by default LevelDB passes over what is damaged
            self._db = plyvel.DB(os.fsencode(path), create_if_missing=False, paranoid_checks=True)
        except plyvel.CorruptionError as error:
            raise self._damaged(error) from error
        except (plyvel.Error, OSError) as error:
            raise DataError(
                f"the LevelDB cannot be opened: {_reason(error, path)}. It needs a folder that may be "
                "written to and that no other process has open",
                path,
            ) from error
        try:
            with self._db.iterator(include_value=False, verify_checksums=True) as keys:
                self.keys = list(keys)
                if self.keys:
                    keys.prev()  # raises where a damaged end has ended the keys too early
            self._look()
        except plyvel.Error as error:
            self._db.close()
            raise self._damaged(error) from error

    def get(self, key: bytes) -> bytes | None:
        if time.monotonic() >= self._next_look:
            self._look()
        try:
            value: bytes | None = self._db.get(key, verify_checksums=True)
        except self._error as error:
            raise self._damaged(error) from error
        return value

    def _look(self) -> None:
        """Raise DataError where a table became shorter: what is mapped and gone would end this process, by SIGBUS.

        There may be thousands of them, so the next look is not before 20 times what this one took.
        """
        begin = time.monotonic()
        try:
            sizes = {entry.name: entry.stat().st_size for entry in os.scandir(self._path)}
        except OSError:  # what is mapped stays, though its file or its folder is gone
            sizes = {}
        for name, size in sizes.items():
            if name.endswith((".ldb", ".sst")):
                if size < self._sizes.get(name, 0):
                    raise DataError(
                        "the LevelDB became shorter while it was read: another program writes to it", self._path
                    )
                self._sizes[name] = size
        now = time.monotonic()
        self._next_look = now + max(_BETWEEN_LOOKS, 20 * (now - begin))

    def _damaged(self, error: Exception) -> DataError:
        return DataError(f"the LevelDB is damaged: {_reason(error, self._path)}", self._path)

    def close(self) -> None:
        self._db.close()


_STORES: dict[str, type[_Lmdb] | type[_LevelDb]] = {"LMDB": _Lmdb, "LEVELDB": _LevelDb}
_open: dict[tuple[str, str], tuple[Store, int]] = {}  # a database can be open only once in a process
_open_lock = threading.Lock()
_dropped: deque[Store] = deque()  # uses that ended while the lock may have been held by the same thread


def open_store(path: str, backend: str) -> Store:
    """The database at `path`; several users share one. Raises DataError."""
    identity = (backend, os.path.realpath(path))
    with _open_lock:
        _close_dropped()
        store, users = _open.get(identity) or (_STORES[backend](path), 0)
        _open[identity] = (store, users + 1)
    return store


def close_store(store: Store) -> None:
    """End one use of a database; the last one closes it."""
    with _open_lock:
        _close_dropped()
        _end_use(store)


def drop_store(store: Store) -> None:
    """End one use without waiting, as memory that is collected must: it can be in the thread that holds the lock.

    Where the lock is taken, the next opening or closing ends the use.
    """
    _dropped.append(store)
    if _open_lock.acquire(blocking=False):
        try:
            _close_dropped()
        finally:
            _open_lock.release()


def _close_dropped() -> None:
    while _dropped:
        _end_use(_dropped.popleft())


def _end_use(store: Store) -> None:
    identity = next(key for key, (opened, _) in _open.items() if opened is store)
    _, users = _open.pop(identity)
    if users > 1:
        _open[identity] = (store, users - 1)
    else:
        store.close()


M = TypeVar("M", bound=Message)


class Records(Generic[M]):
    """The messages of one type that a database holds, in the order of its keys. Raises DataError for anything else."""

    def __init__(self, where: str, backend: str, message: type[M]) -> None:
        self.where, self._message = where, message
        self._store: Store | None = open_store(where, backend)
        self._keys = self._store.keys
        if not self._keys:
            self.close()
            raise DataError(f"the {backend} holds no records", where)

    def __len__(self) -> int:
        return len(self._keys)

    def name(self, index: int) -> str:
        return f"record {index} (key {self._keys[index].decode(errors='backslashreplace')!r})"

    def parse(self, index: int) -> M:
        """The message of record `index`."""
        if self._store is None:
            raise DataError("the database is closed", self.where)
        value = self._store.get(self._keys[index])
        if value is None:
            raise self.error(index, "is gone: another process changed the database")
        counted.check(value, self._message, self.where, DataError, f"{self.name(index)} ")
        try:
            return self._message.FromString(value)
        except Exception as error:  # DecodeError, whose class differs between versions of protobuf
            kind = self._message.DESCRIPTOR.name
            raise self.error(index, f"is no {kind}: {' '.join(str(error).split())}") from error

    def error(self, index: int, message: str) -> DataError:
        """What is wrong with record `index`."""
        return DataError(f"{self.name(index)} {message}", self.where)

    def close(self) -> None:
        if self._store is not None:
            store, self._store = self._store, None
            close_store(store)

    def __del__(self) -> None:
        store = getattr(self, "_store", None)
        if store is not None:
            drop_store(store)


class DatumSource(Records["proto.Datum"], Source):
    """The Datums of a database, as images with labels."""

    def __init__(self, where: str, backend: str, *, color: str = "native") -> None:
        super().__init__(where, backend, proto.Datum)
        self._color = color
        try:
            self.encoded = bool(self.parse(0).encoded)
        except DataError:
            self.close()
            raise

    def read(self, index: int) -> tuple[Image, int]:
        datum = self.parse(index)
        try:
            return datum_pixels(datum, self._color, f"{self.where}, {self.name(index)}"), datum.label
        except ValueError as error:
            raise self.error(index, str(error)) from None

    def encoded_file(self, index: int) -> tuple[bytes, int] | None:
        """The image file that record `index` holds, not decoded, and its label; None where it holds pixels."""
        datum = self.parse(index)
        return (datum.data, datum.label) if datum.encoded else None


def datum_pixels(datum: proto.Datum, color: str, where: str) -> Image:
    """The image of a Datum, (C, H, W) bytes or float32; `color` as in `decode_image`.

    Raises DataError, at `where`, for an image file that cannot be decoded, and ValueError for a Datum whose
    sizes do not fit what it holds.
    """
    if datum.encoded:
        return decode_image(datum.data, color, where)
    shape = (datum.channels, datum.height, datum.width)
    if min(shape) < 1:
        raise ValueError(f"holds no image: {_size(shape)} (channels x height x width)")
    floats = not datum.data
    have, need = len(datum.float_data) if floats else len(datum.data), shape[0] * shape[1] * shape[2]
    if have != need:
        kind = "float values" if floats else "bytes"
        raise ValueError(f"says {_size(shape)} = {need} values but holds {have} {kind}")
    if floats:
        return np.array(datum.float_data, np.float32).reshape(shape)
    return np.frombuffer(datum.data, np.uint8).reshape(shape)


def _misplaced(path: str, backend: str, marker: str) -> DataError:
    other = {"data.mdb": "LEVELDB", "CURRENT": "LMDB"}[marker]
    other_marker = {"data.mdb": "CURRENT", "CURRENT": "data.mdb"}[marker]
    if os.path.exists(os.path.join(path, other_marker)):
        return DataError(f"this is a {other}, opened as {backend}; write backend: {other} in data_param", path)
    if os.path.isdir(path):
        return DataError(f"this folder is no {backend}: it has no file {marker}", path)
    if os.path.exists(path):
        return DataError(f"this is a file, not the folder of a {backend}", path)
    here = "" if os.path.isabs(path) else f" (relative to the current directory, {os.getcwd()})"
    others = ", ".join(name for name in SOURCES.names() if name not in _STORES) or "cifar10"
    return DataError(
        f"there is no {backend} here{here}. Besides a database, data_param.source may name another source, as in "
        f"cifar10:train: {others}",
        path,
    )


def _reason(error: Exception, path: str) -> str:
    """A library's message on one line, without the path that the error already gives."""
    text = error.args[0] if error.args else ""
    text = text.decode(errors="backslashreplace") if isinstance(text, bytes) else str(error)  # plyvel's are bytes
    return " ".join(text.split()).removeprefix(f"{path}: ")


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in shape)
