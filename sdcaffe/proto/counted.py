"""Counts the fields of a message before protobuf makes them: two bytes may be a message of hundreds in memory.

Knows no format but protobuf's. What this does not know, it leaves to protobuf, which refuses it or keeps it as bytes.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from sdcaffe import reading
from sdcaffe.errors import SdcaffeError
from sdcaffe.reading import StrPath

_PLAIN = 1 << 16  # bytes of a message that are not counted
_MOST_FIELDS = 4_000_000  # of a message and those in it: a net of a hundred thousand operators has two million
_EACH = 512  # bytes of memory that a field may take, with what Python makes of it
_STEP = 1 << 17  # fields between looks at the free memory
_STRINGS = (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)
_DEEPEST = 100  # messages within each other that protobuf reads


def check(
    data: bytes | memoryview, kind: type[Message], path: StrPath, error: type[SdcaffeError], what: str = ""
) -> None:
    """Raise `error` for the bytes of a message with more fields than any has, or than fit the free memory.

    `what` opens its words. A list of numbers that is packed, as weights are, is one field. A message that can hold
    nothing but numbers and single strings, as a Datum, is not looked into: it takes no more than a few times its bytes.
    """
    if len(data) <= _PLAIN or not _can_be_many(kind.DESCRIPTOR):
        return
    ends, tables, at, count = [len(data)], [_messages(kind.DESCRIPTOR, {})], 0, 0
    while ends:
        if at >= ends[-1]:
            ends.pop(), tables.pop()
            continue
        tag, at = _varint(data, at)
        count += 1
        if count % _STEP == 0 or count > _MOST_FIELDS:
            _check_count(count, path, error, what)
        wire = tag & 7
        if wire == 2:
            length, at = _varint(data, at)
            inner = tables[-1].get(tag >> 3)
            if inner is None:
                at += length
            elif length > ends[-1] - at or len(ends) > _DEEPEST:
                return
            else:
                ends.append(at + length)
                tables.append(inner)
        elif wire == 0:
            at = _varint(data, at)[1]
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        elif wire > 5:
            return


_Messages = dict[int, "_Messages"]


def _messages(descriptor: Any, known: dict[str, _Messages]) -> _Messages:
    """The numbers of the fields that are to be looked into, each with its own; messages may hold their own kind."""
    found = known.get(descriptor.full_name)
    if found is None:
        found = known[descriptor.full_name] = {}
        for field in descriptor.fields:
            if field.message_type is not None and _can_be_many(field.message_type):
                found[field.number] = _messages(field.message_type, known)
    return found


def _can_be_many(descriptor: Any) -> bool:
    """Whether a message can hold messages, or strings without number."""
    return any(f.message_type is not None or (f.type in _STRINGS and not f.has_presence) for f in descriptor.fields)


def _varint(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """The variable-length whole number at `at`, and where it ends; one without an end leads past all."""
    if at < len(data) and (byte := data[at]) < 0x80:  # as nearly all are
        return byte, at + 1
    value = 0
    for place, byte in enumerate(data[at : at + 10]):
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, at + place + 1
    return 7, len(data)  # of a kind that there is not


def _check_count(count: int, path: StrPath, error: type[SdcaffeError], what: str) -> None:
    if count > _MOST_FIELDS:
        raise error(f"{what}has more than {_MOST_FIELDS} fields; no such file needs so many", str(path))
    if count * _EACH > (free := reading.free_memory()):
        raise error(
            f"{what}has {count} fields or more, which may take {count * _EACH} bytes of memory, more than the {free} "
            "that are free",
            str(path),
        )
