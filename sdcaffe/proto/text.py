"""Reads and writes protobuf's text form, the prototxt. Files and upgrades of old nets are not its work.

`parse` takes all that C++ protobuf's TextFormat takes but strings that are not UTF-8, and refuses what it refuses,
with errors that name the place and the nearest known word; `format` prints what Caffe prints.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from google.protobuf.message import Message

from sdcaffe.errors import PrototxtError
from sdcaffe.proto import complaints, past, tokens
from sdcaffe.proto.layout import format as format
from sdcaffe.proto.positions import Positions as Positions
from sdcaffe.proto.tables import BOOL, BYTES, ENUM, FLOAT, INTEGER, MESSAGE, STRING, Field, Table, table
from sdcaffe.proto.tokens import NAME, NUMBER, SIGN, Source

_CLOSE = {"{": "}", "<": ">"}
_TRUE, _FALSE = ("true", "True", "t"), ("false", "False", "f")
_FLOAT_NAMES = {"inf": float("inf"), "infinity": float("inf"), "nan": float("nan")}


def parse(text: str, message: Message, filename: str, *, ignore_unknown: bool = False) -> Positions:
    """Read `text` into `message`, which is cleared first; returns where each layer and field stands.

    With `ignore_unknown`, fields that the message does not have are skipped and named once each in a warning of the
    logger "sdcaffe"; those that `past` knows are named in one. Raises PrototxtError, with `where` as
    `filename:line:col`, for text that is not protobuf's, for fields and enum values that are not there, values of the
    wrong type or out of range, a field given twice that cannot repeat, and a required field that is missing.
    """
    message.Clear()
    return _Parser(Source(text, filename), ignore_unknown).run(message)


class _Parser:
    def __init__(self, source: Source, ignore_unknown: bool) -> None:
        self.source = source
        self.ignore_unknown = ignore_unknown
        self.kinds, self.words, self.offsets = tokens.scan(source)
        self.at = 0
        self.depth = 0
        self.positions = Positions(source)
        self.unknown: dict[tuple[str, str], list[int]] = {}
        self.passed: dict[tuple[str, str], list[int]] = {}  # (field, why) -> where, of what is read past
        self.read = {
            STRING: self.string,
            BYTES: self.string,
            INTEGER: self.integer,
            FLOAT: self.real,
            BOOL: self.boolean,
            ENUM: self.enum,
        }

    def run(self, message: Message) -> Positions:
        self.fields(message, table(message.DESCRIPTOR), "", 0)
        for (name, field), offsets in self.unknown.items():
            times = f" ({len(offsets)} times)" if len(offsets) > 1 else ""
            logging.getLogger("sdcaffe").warning(
                '%s: ignored%s: message "%s" has no field "%s"',
                self.source.where(offsets[0]),
                times,
                name,
                field,
            )
        if self.passed:
            self.tell_passed()
        return self.positions

    def tell_passed(self) -> None:
        """One warning of all that is read past."""
        by_reason: dict[str, list[str]] = {}
        for (field, why), offsets in self.passed.items():
            by_reason.setdefault(why, []).append(f"{field} ({len(offsets)} times)" if len(offsets) > 1 else field)
        told = "; ".join(f"{', '.join(fields)}: {why}" for why, fields in by_reason.items())
        first = min(offsets[0] for offsets in self.passed.values())
        logging.getLogger("sdcaffe").warning("%s: kept, but not looked at: %s", self.source.where(first), told)

    def error(self, message: str, at: int | None = None) -> PrototxtError:
        """An error at token `at`, or at the present one."""
        return self.source.error(self.offsets[self.at if at is None else at], message)

    def sign(self, *wanted: str) -> bool:
        """Whether the present token is one of these signs; steps over it if so."""
        if self.kinds[self.at] == SIGN and self.words[self.at] in wanted:
            self.at += 1
            return True
        return False

    # ---- Messages ----

    def fields(self, message: Any, fields: Table, close: str, opened: int) -> None:
        """All fields of one message up to its closing sign, which is stepped over; "" is the end of the text."""
        places, passed = self.positions.fields, past.fields_of(fields.message)
        seen: set[str] = set()
        while True:
            at = self.at
            if self.kinds[at] != NAME:
                if self.kinds[at] == SIGN and self.words[at] == "[":
                    raise self.error("extensions and Any are not part of Caffe's format; write a field's name")
                if self.words[at] == close and self.kinds[at] != tokens.STRING:
                    break
                raise self.error(self.not_a_field(fields, close, opened))
            name = self.words[at]
            places.append((self.depth, name, self.offsets[at]))
            field = fields.fields.get(name)
            self.at = at + 1
            if name in passed:
                self.passed.setdefault((f"{fields.message}.{name}", passed[name]), []).append(self.offsets[at])
            if field is None:
                self.skip_unknown(fields, name, at)
            elif field.repeated:
                self.repeated(message, field)
            else:
                if name in seen:
                    raise self.error(
                        f'field "{name}" of message "{fields.message}" is given twice; keep one of them', at
                    )
                seen.add(name)
                if field.kind == MESSAGE:
                    submessage = getattr(message, name)
                    submessage.SetInParent()
                    self.sign(":")
                    self.submessage(submessage, field)
                else:
                    self.colon(field)
                    setattr(message, name, self.read[field.kind](field))
                    if field.kind == ENUM:
                        self.note_value(fields.message, name, at)
            if self.kinds[self.at] == SIGN and self.words[self.at] in ",;":
                self.at += 1
        for name in fields.required:
            if name not in seen:
                raise self.error(f'message "{fields.message}" lacks its required field "{name}"', opened)
        if close:
            self.at += 1

    def note_value(self, message: str, field: str, at: int) -> None:
        """Note the value of an enum, the word just read, where it is one that is read past."""
        word = self.words[self.at - 1]
        why = past.why_value(message, field, word)
        if why is not None:
            self.passed.setdefault((f"{field}: {word}", why), []).append(self.offsets[at])

    def not_a_field(self, fields: Table, close: str, opened: int) -> str:
        word = self.words[self.at]
        place = self.source.where(self.offsets[opened]) if close else ""
        if self.kinds[self.at] == tokens.END:
            open_sign = f'the "{self.words[opened]}" at {place}'
            return f'the file ends inside message "{fields.message}": {open_sign} is never closed'
        if word in ("}", ">"):
            if not close:
                return (
                    f'"{word}" closes nothing here; one "{"{" if word == "}" else "<"}" too few, or this one too many'
                )
            return f'"{word}" cannot close the "{self.words[opened]}" at {place}; write "{close}"'
        return f'expected a field of message "{fields.message}", not {complaints.shown(self.kinds[self.at], word)}'

    def repeated(self, message: Any, field: Field) -> None:
        values = getattr(message, field.name)
        if field.kind == MESSAGE:
            self.sign(":")
            for _ in self.items():
                self.submessage(values.add(), field)
        else:
            self.colon(field)
            read = self.read[field.kind]
            for _ in self.items():
                values.append(read(field))

    def items(self) -> Iterator[None]:
        """Yields before each value of `[a, b]`, or once where no list begins; steps over the signs between."""
        if not self.sign("["):
            yield
            return
        if self.sign("]"):
            return
        while True:
            yield
            if self.sign("]"):
                return
            if not self.sign(","):
                shown = complaints.shown(self.kinds[self.at], self.words[self.at])
                raise self.error(f'expected "," or "]" in a list, not {shown}')

    def submessage(self, message: Any, field: Field) -> None:
        opened = self.at
        if not self.sign("{", "<"):
            shown = complaints.shown(self.kinds[opened], self.words[opened])
            raise self.error(f'field "{field.name}" is a message: write "{field.name} {{ ... }}", not {shown}')
        fields = table(field.message_type)
        start = len(self.positions.fields) - 1
        self.depth += 1
        self.fields(message, fields, _CLOSE[self.words[opened]], opened)
        self.depth -= 1
        if fields.is_layer:
            name = message.name
            if not name and fields.message == "V1LayerParameter":
                name = message.layer.name
            self.positions.layers.append((name, start, len(self.positions.fields)))

    def skip_unknown(self, fields: Table, name: str, at: int) -> None:
        if not self.ignore_unknown:
            raise self.error(complaints.unknown_field(fields, name), at)
        self.unknown.setdefault((fields.message, name), []).append(self.offsets[at])
        if not self.sign(":") and self.words[self.at] not in ("{", "<", "["):
            raise self.error(f'expected ":" or "{{" after "{name}"')
        self.skip_value()

    def skip_value(self) -> None:
        """Step over a value that nothing is known of: a scalar, or all between brackets that match."""
        start = self.at
        open_signs: list[int] = []
        closing = {"{": "}", "<": ">", "[": "]"}
        while True:
            kind, word = self.kinds[self.at], self.words[self.at]
            if kind == tokens.END or (not open_signs and kind == SIGN and word in "}>]:;,"):
                raise self.error(f"a value that began at {self.source.where(self.offsets[start])} has no end")
            self.at += 1
            if kind == SIGN and word in closing:
                open_signs.append(self.at - 1)
            elif kind == SIGN and word in ("}", ">", "]"):
                opened = open_signs.pop()
                if word != closing[self.words[opened]]:
                    place = self.source.where(self.offsets[opened])
                    raise self.error(f'"{word}" cannot close the "{self.words[opened]}" at {place}', self.at - 1)
            if not open_signs and not (kind == SIGN and word == "-"):
                break
        while kind == tokens.STRING and self.kinds[self.at] == tokens.STRING:
            self.at += 1

    # ---- Values ----

    def colon(self, field: Field) -> None:
        if not self.sign(":"):
            shown = complaints.shown(self.kinds[self.at], self.words[self.at])
            raise self.error(f'expected ":" after "{field.name}", not {shown}')

    def mismatch(self, field: Field, at: int) -> PrototxtError:
        return self.error(complaints.mismatch(field, self.kinds[at : at + 2], self.words[at : at + 2]), at)

    def string(self, field: Field) -> str | bytes:
        start = self.at
        if self.kinds[start] != tokens.STRING:
            raise self.mismatch(field, start)
        parts: list[bytes] = []
        while self.kinds[self.at] == tokens.STRING:
            word = self.words[self.at]
            try:
                parts.append(tokens.unescape(word) if "\\" in word else word[1:-1].encode())
            except UnicodeEncodeError as error:
                byte = ord(word[error.start + 1]) - 0xDC00
                raise self.error(f"byte 0x{byte:02x} in a string is not UTF-8; save the file as UTF-8") from None
            except ValueError as error:
                raise self.error(f"in a string: {error}") from None
            self.at += 1
        value = b"".join(parts)
        if field.kind == BYTES:
            return value
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise self.error(f'the string of field "{field.name}" is not UTF-8', start) from None

    def integer(self, field: Field) -> int:
        start = self.at
        negative = self.sign("-")
        value = tokens.integer(self.words[self.at]) if self.kinds[self.at] == NUMBER else None
        if value is None:
            raise self.mismatch(field, start)
        if negative:
            value = -value
        if not field.low <= value <= field.high:
            raise self.error(f'field "{field.name}" takes {complaints.wanted(field)}, not {value}', start)
        self.at += 1
        return value

    def real(self, field: Field) -> float:
        start = self.at
        negative = self.sign("-")
        word = self.words[self.at]
        value: float | None = None
        if self.kinds[self.at] == NUMBER:
            value = tokens.real(word)
        elif self.kinds[self.at] == NAME:
            value = _FLOAT_NAMES.get(word.lower())
        if value is None:
            raise self.mismatch(field, start)
        self.at += 1
        return -value if negative else value

    def boolean(self, field: Field) -> bool:
        kind, word = self.kinds[self.at], self.words[self.at]
        number = tokens.integer(word) if kind == NUMBER else None
        if number not in (0, 1) and not (kind == NAME and word in _TRUE + _FALSE):
            raise self.mismatch(field, self.at)
        self.at += 1
        return number == 1 or word in _TRUE

    def enum(self, field: Field) -> int:
        start = self.at
        if self.kinds[start] == NAME:
            value = field.values.get(self.words[start])
        else:
            negative = self.sign("-")
            number = tokens.integer(self.words[self.at]) if self.kinds[self.at] == NUMBER else None
            value = -number if negative and number is not None else number
            if value not in field.value_names:
                value = None
        if value is None:
            raise self.mismatch(field, start)
        self.at += 1
        return value
