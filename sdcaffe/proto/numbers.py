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

from sdcaffe import reading

Piece = bytes | memoryview
Places: TypeAlias = "dict[int, Places | None]"  # field number -> the Places of the message there; None: numbers

_SMALL = 1 << 10  # bytes that protobuf may copy
_AHEAD = 1 << 12  # bytes that are read ahead, of which numbers are copied once more
_STEP = 1 << 18  # bytes that are read at once, so that the checksum finds them in the processor's cache
_NONE = (1 << 70) + 7  # a tag, or a length, that no field has
_KINDS = frozenset({0, 1, 2, 5})  # wire types: varint, 8 bytes, with a length, 4 bytes
_FIXED = {1: 8, 5: 4}
_GROUPS = frozenset({3, 4})  # where one begins, and ends
_MOST_SINGLE = 1000  # fields of a blob, beside what is packed: numbers that are not packed are a field each
# Fields of a file around its blobs, and pieces of their numbers: nets of a thousand layers have some 50,000.
_MOST_FIELDS = 300_000
_PLAIN = 1 << 20  # bytes around the blobs that are read without asking how much memory there is
_GROWTH = 64  # what those bytes become in memory at most, so many times as many


class TooMuch(ValueError):
    """A file has more around its numbers than memory should be taken for."""


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
        self._ahead, self._at, self._summed = b"", 0, 0  # bytes read ahead, how many are taken, and in the checksum
        self._crc = 0

    @property
    def crc(self) -> int:
        self._crc = zlib.crc32(memoryview(self._ahead)[self._summed : self._at], self._crc)
        self._summed = self._at
        return self._crc

    def read(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._ahead):
            self._look(size)
            end = size
            if end > len(self._ahead):
                raise EOFError
        data = self._ahead[self._at : end]
        self._at = end
        return data

    def varint(self, left: int) -> tuple[int, bytes]:
        """The variable-length whole number in the next `left` bytes, and its own; _NONE where it has no end."""
        data, start = self._ahead, self._at
        if left and start < len(data) and data[start] < 0x80:  # as most are
            self._at = start + 1
            return data[start], data[start : start + 1]
        left = min(left, 10)
        if start + left > len(data):
            self._look(left)
        data, start, value = self._ahead, self._at, 0
        for place, byte in enumerate(data[start : start + left]):
            value |= (byte & 0x7F) << 7 * place
            if byte < 0x80:
                self._at = end = start + place + 1
                return value, data[start:end]
        return _NONE, self.read(left)

    def ahead(self, left: int, most: int, where: Places) -> tuple[bytes, int, int | None, int, int]:
        """What is read in one go of the next `left` bytes: plain fields, and the head of one of `where` behind them.

        Gives their bytes without that head's length; how many plain ones there are, `most` or less; the number and
        the length of the one of `where`, or None; and how many bytes were read. Plain is a field with one byte of
        length or value, or a fixed size.
        """
        data, start = self._ahead, self._at
        end, stop, count = start, min(len(data), start + left), 0
        while count < most and end + 2 < stop:
            tag, at = data[end], end + 1
            if tag > 0x7F:
                if data[at] > 0x7F:
                    break
                tag, at = tag & 0x7F | data[at] << 7, at + 1
            kind = tag & 7
            if kind == 2:
                if tag >> 3 in where:
                    length, size = _length(data, at, stop)
                    if at + size + length > start + left:
                        break
                    self._at = at + size
                    return data[start:at], count, tag >> 3, length, self._at - start
                if data[at] > 0x7F:
                    break
                at += 1 + data[at]
            elif kind in _FIXED:
                at += _FIXED[kind]
            elif kind or data[at] > 0x7F:
                break
            else:
                at += 1
            if at > stop:
                break
            end, count = at, count + 1
        self._at = end
        return data[start:end], count, None, 0, end - start

    def read_numbers(self, size: int) -> memoryview:
        """The next `size` bytes, as memory of their own that numpy may write to."""
        memory = np.empty(size, np.uint8).data
        there = self.read(min(size, len(self._ahead) - self._at))
        memory[: len(there)] = there
        self._crc = self.crc
        for start in range(len(there), size, _STEP):
            part = memory[start : start + _STEP]
            if self._file.readinto(part) < len(part):
                raise EOFError
            self._crc = zlib.crc32(part, self._crc)
        return memory

    def _look(self, size: int) -> None:
        """Have the next `size` bytes ahead, or all that there are."""
        self._crc = self.crc
        rest = self._ahead[self._at :]
        self._ahead, self._at, self._summed = rest + self._file.read(max(size - len(rest), _AHEAD)), 0, 0


def places(descriptor: Descriptor) -> Places:
    """Where blobs stand in a message of the schema whose numbers are bytes, and where numbers in a blob."""
    if descriptor.name == "BlobProto":
        return {field.number: None for field in descriptor.fields if field.type == field.TYPE_BYTES}
    inner = {field.number: places(field.message_type) for field in descriptor.fields if field.message_type is not None}
    return {number: found for number, found in inner.items() if found}


class _Room:
    """What is left of fields, and how many bytes they had that are no numbers."""

    def __init__(self) -> None:
        self._fields = _MOST_FIELDS
        self._bytes = 0
        self._free: int | None = None  # bytes of memory, once it matters

    def take(self, size: int, count: int = 1) -> None:
        """So many more fields, of `size` bytes together. Raises TooMuch."""
        self._fields -= count
        self._bytes += size
        if self._fields < 0:
            raise TooMuch(f"has more than {_MOST_FIELDS} fields around its numbers; no net has so many layers")
        if self._bytes <= _PLAIN:
            return
        if self._free is None:
            self._free = reading.free_memory()
        if (wanted := _GROWTH * self._bytes) > self._free:
            raise TooMuch(
                f"has {self._bytes} bytes or more around its numbers, which may take {wanted} bytes of memory, more "
                f"than the {self._free} that are free"
            )


def taken(source: Source, size: int, where: Places) -> tuple[bytes, Numbers]:
    """The next `size` bytes of a file, a message, with keys in the place of its numbers; and these.

    Raises EOFError where the file has become shorter, TooMuch where it has too many fields for its numbers.
    """
    numbers = Numbers()

    def key(length: int) -> list[Piece]:
        return [source.read(length) if length < _SMALL else numbers.add(source.read_numbers(length))]

    return b"".join(_rewritten(source, size, where, key, _Room())), numbers


def put(message: bytes, numbers: Numbers, where: Places) -> list[Piece]:
    """The bytes of a message, with its numbers in the place of their keys, in parts that follow each other."""
    source = Source(io.BytesIO(message))

    def piece(length: int) -> list[Piece]:
        key = source.read(length)
        return [numbers.get(key, key)]

    parts = itertools.groupby(
        _rewritten(source, len(message), where, piece, None), lambda part: isinstance(part, bytes)
    )
    return [part for small, group in parts for part in ([b"".join(group)] if small else group)]


def _rewritten(
    source: Source, size: int, where: Places, swap: Callable[[int], list[Piece]], room: _Room | None
) -> list[Piece]:
    """The message of `size` bytes, where `swap` reads numbers of a given length and says what stands for them.

    From the first field on that is none of protobuf's, or after very many of a blob, the rest is as it was.
    """
    parts: list[Piece] = []
    is_blob = None in where.values()
    known = _KINDS if is_blob else _KINDS | _GROUPS  # lest a group, which protobuf reads past, hide what follows
    left, single = size, 0
    while left and single < _MOST_SINGLE:
        fields, count, inner, length, used = source.ahead(left, _MOST_SINGLE - single, where)
        if used:
            parts.append(fields)
            left -= used
            if is_blob:
                single += count
            elif room is not None:
                room.take(len(fields), count)
            if inner is not None:
                if room is not None:
                    room.take(0)
                parts += _inner(source, length, where[inner], swap, room)
                left -= length
            continue
        tag, head = source.varint(left)
        parts.append(head)
        left -= len(head)
        number, kind = tag >> 3, tag & 7
        length = _FIXED.get(kind, 0)
        if kind in (0, 2):
            value, head = source.varint(left)
            left -= len(head)
            length = value if kind == 2 else 0
            if kind == 2 and number in where and length <= left:
                if room is not None:
                    room.take(0)
                parts += _inner(source, length, where[number], swap, room)
                left -= length
                continue
            parts.append(head)
        if length > left or kind not in known:
            break
        if is_blob:
            single += 1
        elif room is not None:
            room.take(len(head) + length)
        parts.append(source.read(length))
        left -= length
    parts.append(source.read(left))
    return parts


def _length(data: bytes, start: int, stop: int) -> tuple[int, int]:
    """A length, and of how many bytes it is; _NONE where it does not end before `stop`, or is of more than five."""
    value = 0
    for place, byte in enumerate(data[start : min(stop, start + 5)]):
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, place + 1
    return _NONE, 0


def _inner(
    source: Source, length: int, where: Places | None, swap: Callable[[int], list[Piece]], room: _Room | None
) -> list[Piece]:
    """A message within another, or numbers, with the length before it."""
    parts = swap(length) if where is None else _rewritten(source, length, where, swap, room)
    return [varint(sum(map(len, parts))), *parts]


def varint(value: int) -> bytes:
    """The bytes of a whole number, as many as it needs."""
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*data, value])
