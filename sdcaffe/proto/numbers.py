"""Numbers of blobs go between a file and arrays directly: protobuf gets a key in the place of each, and copies none.

A key is drawn at random for each file, so that no file can hold one. What this does not know, it leaves to protobuf.
"""

from __future__ import annotations

import io
import itertools
import secrets
import zlib
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from google.protobuf.descriptor import Descriptor

Piece = bytes | memoryview
Places: TypeAlias = "dict[int, Places | None]"  # field number -> the Places of the message there; None: numbers

_SMALL = 1 << 10  # bytes that protobuf may copy
_STEP = 1 << 18  # bytes that are read at once, so that the checksum finds them in the processor's cache
_NONE = (1 << 70) + 7  # a tag, or a length, that no field has
_MOST_FIELDS = 1000  # of one message, beside those that are looked into: numbers that are not packed are a field each


class Numbers(dict[bytes, Piece]):
    """Key -> the bytes of the numbers that it stands for."""

    def __init__(self) -> None:
        super().__init__()
        self._token = secrets.token_bytes(16)

    def add(self, piece: Piece) -> bytes:
        """The key of a new entry."""
        key = self._token + len(self).to_bytes(8, "little")
        self[key] = piece
        return key


class Source:
    """A file that is read from front to end, with the CRC-32 of what was read. Raises EOFError where it ends early."""

    def __init__(self, file: io.BufferedIOBase) -> None:
        self._file = file
        self.crc = 0

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) < size:
            raise EOFError
        self.crc = zlib.crc32(data, self.crc)
        return data

    def read_numbers(self, size: int) -> memoryview:
        """The next `size` bytes, as memory of their own that numpy may write to."""
        memory = np.empty(size, np.uint8).data
        for start in range(0, size, _STEP):
            part = memory[start : start + _STEP]
            if self._file.readinto(part) < len(part):
                raise EOFError
            self.crc = zlib.crc32(part, self.crc)
        return memory


def places(descriptor: Descriptor) -> Places:
    """Where blobs stand in a message of the schema whose numbers are bytes, and where numbers in a blob."""
    if descriptor.name == "BlobProto":
        return {field.number: None for field in descriptor.fields if field.type == field.TYPE_BYTES}
    inner = {field.number: places(field.message_type) for field in descriptor.fields if field.message_type is not None}
    return {number: found for number, found in inner.items() if found}


def taken(source: Source, size: int, where: Places) -> tuple[bytes, Numbers]:
    """The next `size` bytes of a file, a message, with keys in the place of its numbers; and these."""
    numbers = Numbers()

    def key(length: int) -> list[Piece]:
        return [source.read(length) if length < _SMALL else numbers.add(source.read_numbers(length))]

    return b"".join(_rewritten(source, size, where, key)), numbers


def put(message: bytes, numbers: Numbers, where: Places) -> list[Piece]:
    """The bytes of a message, with its numbers in the place of their keys, in parts that follow each other."""
    source = Source(io.BytesIO(message))

    def piece(length: int) -> list[Piece]:
        key = source.read(length)
        return [numbers.get(key, key)]

    parts = itertools.groupby(_rewritten(source, len(message), where, piece), lambda part: isinstance(part, bytes))
    return [part for small, group in parts for part in ([b"".join(group)] if small else group)]


def _rewritten(source: Source, size: int, where: Places, swap: Callable[[int], list[Piece]]) -> list[Piece]:
    """The message of `size` bytes, where `swap` reads numbers of a given length and says what stands for them.

    From the first field on that is none of protobuf's, or after very many, the rest is as it was.
    """
    parts: list[Piece] = []
    left, others = size, 0
    while left and others < _MOST_FIELDS:
        tag, head = _varint(source, left)
        parts.append(head)
        left -= len(head)
        number, kind = tag >> 3, tag & 7
        length = {1: 8, 5: 4}.get(kind, 0)
        if kind in (0, 2):
            value, head = _varint(source, left)
            left -= len(head)
            length = value if kind == 2 else 0
            if kind == 2 and number in where and length <= left:
                parts += _inner(source, length, where[number], swap)
                left -= length
                continue
            parts.append(head)
        if kind not in (0, 1, 2, 5) or length > left:
            break
        parts.append(source.read(length))
        left -= length
        others += 1
    parts.append(source.read(left))
    return parts


def _inner(source: Source, length: int, where: Places | None, swap: Callable[[int], list[Piece]]) -> list[Piece]:
    """A message within another, or numbers, with the length before it."""
    parts = swap(length) if where is None else _rewritten(source, length, where, swap)
    return [varint(sum(map(len, parts))), *parts]


def _varint(source: Source, left: int) -> tuple[int, bytes]:
    """The next variable-length whole number, and its bytes; _NONE where it has no end."""
    value, data = 0, b""
    while len(data) < min(left, 10):
        byte = source.read(1)
        value |= (byte[0] & 0x7F) << 7 * len(data)
        data += byte
        if byte[0] < 0x80:
            return value, data
    return _NONE, data


def varint(value: int) -> bytes:
    """The bytes of a whole number, as many as it needs."""
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*data, value])
