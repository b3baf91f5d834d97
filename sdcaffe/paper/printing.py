"""A net's message in the layout of prototxt/: a layer a line where it fits. It changes nothing in it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sdcaffe.paper.text import NetText, Word
from sdcaffe.proto.layout import number, quoted
from sdcaffe.proto.tables import BYTES, ENUM, FLOAT, MESSAGE, STRING, Field, table

_WIRING = {"name", "type", "bottom", "top"}


def net_text(net: Any, head: Iterable[str]) -> str:
    """The NetParameter as prototxt, under a comment of the lines `head`."""
    text = NetText(net.name)
    text.settings(_message(net, {"name", "layer"}))
    for layer in net.layer:
        message = _message(layer, _WIRING)
        phase = None
        match message.get("include"):
            case [{"phase": Word() as word, **others}] if not others:
                phase = word
                del message["include"]
        text.layer(layer.name, layer.type, layer.bottom, layer.top, message, phase=phase)
    return text.text(head)


def _message(message: Any, without: Iterable[str] = ()) -> dict[str, object]:
    fields = table(message.DESCRIPTOR).fields
    return {
        descriptor.name: [_value(field, item) for item in value] if field.repeated else _value(field, value)
        for descriptor, value in message.ListFields()
        if descriptor.name not in without and (field := fields[descriptor.name])
    }


def _value(field: Field, value: Any) -> object:
    if field.kind == MESSAGE:
        return _message(value)
    if field.kind == FLOAT:
        return Word(number(value, field.double))
    if field.kind == ENUM:
        return Word(field.value_names.get(value, str(value)))
    if field.kind in (STRING, BYTES):
        return Word(quoted(value.encode() if isinstance(value, str) else value))
    return value  # a bool or an int
