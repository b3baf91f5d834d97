"""Lays out a net as prototxt text for a human reader. It knows the notation, not the layer types."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

WIDTH = 120  # columns; a message that does not fit is broken into lines


class Word(str):
    """A prototxt word as it stands, without quotes: the name of an enum value."""


class Blob(NamedTuple):
    """A blob while a net is written: its name, and its channels for counting what reads it."""

    name: str
    channels: int


Message = Mapping[str, object]  # field name -> scalar, message, or a list of either: a repeated field


def fields(message: Message) -> Iterator[str]:
    """Each field of a message on one line: `name: value`, `name { ... }`; a list repeats its name."""
    for name, value in message.items():
        for item in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(item, Mapping):
                yield f"{name} {{ {' '.join(fields(item))} }}"
            else:
                yield f"{name}: {_scalar(item)}"


def comment(lines: Iterable[str]) -> str:
    return "".join(f"# {line}\n" for line in lines)


def _scalar(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value if isinstance(value, Word) else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return format(value, ".10g") if isinstance(value, float) else str(value)


def _lines(message: Message) -> Iterator[str]:
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
            yield from (f"{name} {{", *(f"  {line}" for line in _lines(value)), "}")
        elif len(text) + 2 > WIDTH:
            yield from fields({name: value})
        else:
            yield text
    if shared:
        yield " ".join(shared)


class NetText:
    """A net under construction: layers in order, and how many parameters training will learn."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.parameters = 0
        self._lines = list(fields({"name": name}))

    def section(self, title: str) -> None:
        """An empty line and a comment over the layers that follow."""
        self._lines += ["", f"# {title}"]

    def settings(self, message: Message) -> None:
        """Fields of the net itself."""
        self._lines += _lines(message)

    def layer(
        self,
        name: str,
        type_name: str,
        bottoms: Sequence[str],
        tops: Sequence[str],
        message: Message | None = None,
        *,
        phase: str | None = None,
    ) -> None:
        """Append one layer: on one line where it fits, otherwise its wiring first and each field below."""
        head: dict[str, object] = {
            "name": name,
            "type": type_name,
            "bottom": list(bottoms),
            "top": list(tops),
        }
        if phase is not None:
            head["include"] = {"phase": Word(phase)}
        wiring = " ".join(fields(head))
        line = f"layer {{ {' '.join([wiring, *fields(message or {})])} }}"
        if len(line) <= WIDTH:
            self._lines.append(line)
            return
        first = [wiring] if len(wiring) + 2 <= WIDTH else _lines(head)
        self._lines += ["layer {", *(f"  {part}" for part in (*first, *_lines(message or {}))), "}"]

    def text(self, head: Iterable[str]) -> str:
        """The whole file, under a comment of the lines `head`."""
        return comment(head) + "\n".join(self._lines) + "\n"
