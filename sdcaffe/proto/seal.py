"""The seal at the start of our binary files, and a look at the outermost fields of any protobuf file.

The seal is an ordinary field (`sdcaffe_seal`, 17 bytes) that Caffe reads past. With it a file that was
cut at any byte, or damaged, is known for one. Files without it are Caffe's own.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable, Iterator

from sdcaffe.errors import SdcaffeError

# Field 1001 of 14 bytes: field 1, a fixed64; field 2, a fixed32.
_LAYOUT = struct.Struct("<3s c Q c I")
_TAG = b"\xca\x3e\x0e"
SIZE = _LAYOUT.size

_MOST_FIELDS = 100_000


def seal(parts: Iterable[bytes | memoryview]) -> bytes:
    """The seal that goes before a body, whose parts follow each other."""
    size, crc = SIZE, 0
    for part in parts:
        size += len(part)
        crc = zlib.crc32(part, crc)
    return _LAYOUT.pack(_TAG, b"\x09", size, b"\x15", crc)


def promised(head: bytes, size: int, path: str | os.PathLike[str], error: type[SdcaffeError]) -> int | None:
    """The CRC-32 that a file of `size` bytes should have behind its seal; None where it has no seal.

    `head`: its first SIZE bytes. Raises `error` for a file that is not whole.
    """
    if not size:
        raise error("is empty", str(path))
    if head[:3] != _TAG[: len(head)]:
        return None
    if size < SIZE:
        raise error(f"is cut short: it ends after {size} bytes", str(path))
    _, first, sealed, second, crc = _LAYOUT.unpack_from(head)
    if (first, second) != (b"\x09", b"\x15"):
        raise error("is damaged: its first bytes are not those of any snapshot", str(path))
    if size != sealed:
        state = "is cut short" if size < sealed else "has something appended"
        raise error(f"{state}: it has {size} bytes and was written with {sealed}", str(path))
    return int(crc)


def check(crc: int, promise: int | None, path: str | os.PathLike[str], error: type[SdcaffeError]) -> None:
    """Raise `error` where what follows a seal has another CRC-32 than that promised."""
    if promise not in (None, crc):
        raise error("is damaged: its checksum does not fit its bytes", str(path))


def opened(data: bytes, path: str | os.PathLike[str], error: type[SdcaffeError]) -> memoryview:
    """What follows the seal; all of `data` where it has none. Raises `error` for a file that is not whole."""
    promise = promised(data[:SIZE], len(data), path, error)
    body = memoryview(data)[0 if promise is None else SIZE :]
    if promise is not None:
        check(zlib.crc32(body), promise, path, error)
    return body


def outer_fields(data: bytes | memoryview) -> set[tuple[int, int]]:
    """(number, wire type) of the outermost fields, as far as they can be followed."""
    return {step[:2] for step in _fields(data) if not isinstance(step, str)}


def first_flaw(data: bytes | memoryview) -> str | None:
    """What is wrong with the outermost fields: one that ends after the file, or is none. None: nothing."""
    return next((step for step in _fields(data) if isinstance(step, str)), None)


def _fields(data: bytes | memoryview) -> Iterator[tuple[int, int, int] | str]:
    """Each outermost field, or what is wrong with it and then no more. Stops in a file of very many."""
    position = 0
    for _ in range(_MOST_FIELDS):
        if position >= len(data):
            return
        step = _field(data, position)
        yield step
        if isinstance(step, str):
            return
        position = step[2]


def _field(data: bytes | memoryview, start: int) -> tuple[int, int, int] | str:
    """Number, wire type and end of the field at `start`, or what is wrong with it."""
    flaw = f"the field at byte {start} is none of protobuf's"
    tag, position = _varint(data, start)
    number, kind = tag >> 3, tag & 7
    if position < 0 or not 0 < number < 2**29:
        return flaw
    if kind == 0:
        position = _varint(data, position)[1]
    elif kind == 1:
        position += 8
    elif kind == 2:
        length, position = _varint(data, position)
        position = position + length if position >= 0 else position
    elif kind == 5:
        position += 4
    else:
        return flaw
    if position < 0 or position > len(data):
        return f"field {number} at byte {start} goes on after the end of the file ({len(data)} bytes)"
    return number, kind, position


def _varint(data: bytes | memoryview, position: int) -> tuple[int, int]:
    """A variable-length whole number and the place after it; the place is -1 where it has no end."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            return value, -1
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    return value, -1
