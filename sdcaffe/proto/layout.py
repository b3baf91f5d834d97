"""Prints a message the way C++ protobuf's text form does, which is what Caffe logs and writes.

Fields by number, two blanks a level, floats with the fewest of 6 or 9 digits that read back the same.
Fields the schema does not know are left out.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from typing import Any

from google.protobuf.message import Message

from sdcaffe.proto.tables import BOOL, BYTES, ENUM, FLOAT, MESSAGE, STRING, Field, table

_ESCAPED = {
    ord("\n"): b"\\n",
    ord("\r"): b"\\r",
    ord("\t"): b"\\t",
    ord('"'): b'\\"',
    ord("'"): b"\\'",
    ord("\\"): b"\\\\",
}
_UNSAFE = re.compile(rb"[^ !#-&(-\[\]-~]")


def format(message: Message) -> str:
    """The message as prototxt, each field on a line of its own, with a newline at the end."""
    lines: list[str] = []
    _print(message, "", lines)
    return "".join(lines)


def _print(message: Any, indent: str, lines: list[str]) -> None:
    fields = table(message.DESCRIPTOR).fields
    for descriptor, value in message.ListFields():
        field = fields[descriptor.name]
        for item in value if field.repeated else (value,):
            if field.kind == MESSAGE:
                lines.append(f"{indent}{field.name} {{\n")
                _print(item, indent + "  ", lines)
                lines.append(f"{indent}}}\n")
            else:
                lines.append(f"{indent}{field.name}: {_scalar(field, item)}\n")


def _scalar(field: Field, value: Any) -> str:
    if field.kind == FLOAT:
        return number(value, field.double)
    if field.kind == STRING:
        return quoted(value.encode() if isinstance(value, str) else value)  # bytes: not UTF-8, in a binary file
    if field.kind == BYTES:
        return quoted(value)
    if field.kind == BOOL:
        return "true" if value else "false"
    if field.kind == ENUM:
        return field.value_names.get(value, str(value))
    return str(value)


def number(value: float, double: bool = False) -> str:
    """A float (or a double) with as few digits as C++ protobuf prints: 0.1, 1e-05, 0.333333343, inf."""
    return _rounded(value, (15, 17) if double else (6, 9), double)


def shortest(value: float, double: bool = False) -> str:
    """A float (or a double) with the fewest digits, 6 or more, that read back the same: 129.3105."""
    return _rounded(value, range(6, 18 if double else 10), double)


def _rounded(value: float, digits: Sequence[int], double: bool) -> str:
    """With the first of so many digits that read back the same, else with the last."""
    for count in digits:
        text = f"{value:.{count}g}"
        if value - value != 0 or (float(text) if double else _single(float(text))) == value:  # inf and nan, or the same
            break
    return text


def _single(value: float) -> float:
    try:
        return float(struct.unpack("<f", struct.pack("<f", value))[0])
    except OverflowError:
        return float("inf")


def quoted(value: bytes) -> str:
    """A string in double quotes; what is not printable ASCII as octal escapes."""
    body = _UNSAFE.sub(lambda found: _ESCAPED.get(found[0][0], b"\\%03o" % found[0][0]), value)
    return f'"{body.decode("ascii")}"'
