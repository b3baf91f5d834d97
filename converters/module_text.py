"""Pieces of Python source: names, strings, statements. Nothing from a prototxt gets past it as code."""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Iterable

WIDTH = 120
_LONGEST_NAME = 40
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def is_identifier(name: str) -> bool:
    """Whether `name` may stand in source as an attribute: ASCII, no keyword, nothing that Python mangles."""
    return bool(_IDENTIFIER.fullmatch(name)) and not keyword.iskeyword(name) and not name.startswith("__")


def attributes(names: Iterable[str], reserved: Callable[[str], bool]) -> dict[str, str]:
    """What a module calls its parts: identifiers as they are, others with _ for what no identifier has.

    No two are alike, and none is `reserved`: those get a _ or a number behind.
    """
    names = list(names)
    found = {name: name for name in names if is_identifier(name) and not reserved(name)}
    taken = set(found.values())
    for name in names:
        if name in found:
            continue
        plain = re.sub(r"[^A-Za-z0-9_]+", "_", name).lstrip("_") or "layer"
        plain = f"layer_{plain}" if plain[0].isdigit() else plain
        new, count = plain, 1
        while new in taken or reserved(new) or not is_identifier(new):
            count += 1
            new = f"{plain}_" if f"{plain}_" not in taken and count == 2 else f"{plain}_{count}"
        taken.add(new)
        found[name] = new
    return found


def string(text: str) -> str:
    """A literal in double quotes and ASCII, on one line, whatever the text."""
    return '"' + text.encode("unicode_escape").decode("ascii").replace('"', '\\"') + '"'


def prose(text: str) -> str:
    """Text for a docstring: ASCII, on one line, of some length at most, without what could end the docstring."""
    plain = re.sub(r"[^ -~]|[\"\\]", " ", text[:_LONGEST_NAME])
    return " ".join(plain.split())


def statement(left: str, right: str, indent: int) -> str:
    """`left` and `right` as a formatter would break them: what does not fit has each argument on a line."""
    line = f"{' ' * indent}{left}{right}"
    opened = re.match(r"[\w.]*\(", right)
    arguments = _arguments(right[opened.end() :]) if opened is not None and len(line) > WIDTH else None
    if opened is None or arguments is None:
        return line
    inner = "".join(f"{statement('', argument, indent + 4)},\n" for argument in arguments)
    return f"{' ' * indent}{left}{opened[0]}\n{inner}{' ' * indent})"


def _arguments(text: str) -> list[str] | None:
    """The arguments of a call, of which `text` is all behind the opening bracket; None where it is more than a call."""
    parts, depth, start, quoted, i = [], 1, 0, False, 0
    while i < len(text) and depth:
        c = text[i]
        if c == "\\":
            i += 1
        elif c == '"':
            quoted = not quoted
        elif not quoted:
            depth += (c in "([{") - (c in ")]}")
            if depth == 0 or (c == "," and depth == 1):
                parts.append(text[start:i].strip())
                start = i + 1
        i += 1
    return parts if i == len(text) and not depth else None


class Names:
    """Variables: a valid and free name for each word asked for."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)

    def new(self, word: str) -> str:
        name = re.sub(r"[^A-Za-z0-9_]+", "_", word)[:_LONGEST_NAME].strip("_") or "blob"
        name = f"blob_{name}" if name[0].isdigit() else name
        name = f"{name}_" if keyword.iskeyword(name) else name
        found, count = name, 1
        while found in self._taken:
            count += 1
            found = f"{name}_{count}"
        self._taken.add(found)
        return found


def class_name(words: str, taken: Iterable[str]) -> str:
    """A class's name of the words of a net's name: "ResNet-18 ImageNet" is ResNet18ImageNet."""
    parts = re.findall(r"[A-Za-z0-9]+", words)
    name = "".join(part[:1].upper() + part[1:] for part in parts)[:_LONGEST_NAME]
    if not name or name[0].isdigit():
        name = f"Net{name}"
    return f"{name}Net" if name in taken or keyword.iskeyword(name) else name
