"""Shows a line of a text with a caret below one of its characters. Knows nothing of what the text says."""

from __future__ import annotations

import unicodedata

_BEFORE, _WIDTH = 50, 100  # columns at most before the caret, and altogether
_INDENT = "    "
_CUT = "..."


def excerpt(text: str, offset: int) -> str:
    """The line that holds `offset`, and a caret below its place: two lines, without an end of line behind them.

    A tab becomes four blanks, a character that cannot be printed its number, and a line longer than 100 columns is
    cut around the place. Where nothing but blanks stands on the line, which is so at the end of most files, it is
    the last line above with a word on it, and the caret stands behind that word; "" where
    there is none.
    """
    start, end = _line(text, offset)
    if not text[start:end].strip():
        offset = len(text[:start].rstrip())
        start, end = _line(text, offset)
        if not text[start:end].strip(" \t\r\n\ufeff"):
            return ""
    while start < offset and text[start] in " \t\ufeff":
        start += 1
    first = max(start, offset - _BEFORE)
    before = [_shown(character) for character in text[first:offset]]
    while sum(map(_columns, before)) > _BEFORE:
        del before[0]
        first += 1
    shown = "".join(before)
    if first > start:
        shown = _CUT + shown
    caret = " " * _columns(shown) + "^"
    room = _WIDTH - _columns(shown)
    for i, character in enumerate(text[offset:end]):
        cell = _shown(character)
        room -= _columns(cell)
        if room < 0 and i > 0:
            shown += _CUT
            break
        shown += cell
    return f"{_INDENT}{shown.rstrip()}\n{_INDENT}{caret}"


def _line(text: str, offset: int) -> tuple[int, int]:
    """Where the line that holds `offset` begins and ends."""
    end = text.find("\n", offset)
    end = len(text) if end < 0 else end
    start = text.rfind("\n", 0, offset) + 1
    return start, end - text.endswith("\r", start, end)


def _shown(character: str) -> str:
    """How a character is printed: itself, or its number where it has no shape or moves what follows."""
    if character == "\t":
        return "    "
    if character.isprintable():
        return character
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:  # a byte that is not UTF-8
        number -= 0xDC00
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def _columns(shown: str) -> int:
    """The columns that printed characters take on a terminal."""
    marks = ("Mn", "Me")
    return sum(
        0 if unicodedata.category(c) in marks else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in shown
    )
