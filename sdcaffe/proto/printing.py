"""Lays out a net for a human reader, a layer a line where it fits: the layout of prototxt/. It changes nothing in it.

What Caffe prints, a field a line, stands in layout.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from google.protobuf.message import Message as AnyMessage

from sdcaffe.proto import caffe
from sdcaffe.proto.layout import quoted, shortest
from sdcaffe.proto.tables import BYTES, ENUM, FLOAT, MESSAGE, STRING, Field, table

WIDTH = 120  # columns; a message that does not fit is broken into lines

Message = Mapping[str, object]  # field name -> scalar, message, or a list of either: a repeated field

_WIRING = ("name", "type", "bottom", "top")


class Word(str):
    """A prototxt word as it stands, without quotes: the name of an enum value."""


class LayerText(NamedTuple):
    """A layer as it is to be written; `message` are its other fields, in their order, but for a lone `phase`."""

    name: str
    type_name: str
    bottoms: Sequence[str]
    tops: Sequence[str]
    message: Message
    phase: str | None = None

    def lines(self) -> list[str]:
        """On one line where it fits, otherwise its wiring first and each field below."""
        head: dict[str, object] = {
            "name": self.name,
            "type": self.type_name,
            "bottom": list(self.bottoms),
            "top": list(self.tops),
        }
        if self.phase is not None:
            head["include"] = {"phase": Word(self.phase)}
        wiring = " ".join(fields(head))
        line = f"layer {{ {' '.join([wiring, *fields(self.message)])} }}"
        if len(line) <= WIDTH:
            return [line]
        first = [wiring] if len(wiring) + 2 <= WIDTH else broken(head)
        return ["layer {", *(f"  {part}" for part in (*first, *broken(self.message))), "}"]


def net_text(net: caffe.NetParameter, head: Iterable[str]) -> str:
    """The NetParameter as prototxt, under a comment of the lines `head`."""
    lines = [*fields({"name": net.name}), *broken(message_of(net, ("name", "layer")))]
    for layer in net.layer:
        lines += layer_text(layer).lines()
    return comment(head) + "\n".join(lines) + "\n"


def layer_text(layer: caffe.LayerParameter) -> LayerText:
    """What a LayerParameter holds."""
    message = message_of(layer, _WIRING)
    phase = None
    match message.get("include"):
        case [{"phase": Word() as word, **others}] if not others:
            phase = word
            del message["include"]
    return LayerText(layer.name, layer.type, list(layer.bottom), list(layer.top), message, phase)


def message_of(message: AnyMessage, without: Iterable[str] = ()) -> dict[str, object]:
    """The fields that are set, by number, but for those named in `without`."""
    known = table(message.DESCRIPTOR).fields
    return {
        descriptor.name: [_value(field, item) for item in value] if field.repeated else _value(field, value)
        for descriptor, value in message.ListFields()
        if descriptor.name not in without and (field := known[descriptor.name])
    }


def fields(message: Message) -> Iterator[str]:
    """Each field of a message on one line: `name: value`, `name { ... }`; a list repeats its name."""
    for name, value in message.items():
        for item in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(item, Mapping):
                yield f"{name} {{ {' '.join(fields(item))} }}"
            else:
                yield f"{name}: {_scalar(item)}"


def broken(message: Message) -> Iterator[str]:
    """A message over several lines: single scalars share one, every other field has its own."""
    shared: list[str] = []
    for name, value in message.items():
        text = " ".join(fields({name: value}))
        if not isinstance(value, (list, tuple, Mapping)):
            shared.append(text)
            continue
        if shared:
            yield " ".join(shared)
            shared = []
        if isinstance(value, Mapping) and len(text) + 2 > WIDTH:
            yield from (f"{name} {{", *(f"  {line}" for line in broken(value)), "}")
        elif len(text) + 2 > WIDTH:
            yield from fields({name: value})
        else:
            yield text
    if shared:
        yield " ".join(shared)


def comment(lines: Iterable[str]) -> str:
    return "".join(f"# {line}\n" for line in lines)


def _scalar(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Word):
        return value
    if isinstance(value, str):
        return quoted(value.encode())
    return format(value, ".10g") if isinstance(value, float) else str(value)


def _value(field: Field, value: Any) -> object:
    if field.kind == MESSAGE:
        return message_of(value)
    if field.kind == FLOAT:
        return Word(shortest(value, field.double))
    if field.kind == ENUM:
        return Word(field.value_names.get(value, str(value)))
    if field.kind in (STRING, BYTES):
        return Word(quoted(value.encode() if isinstance(value, str) else value))
    return value  # a bool or an int
