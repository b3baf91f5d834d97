"""Cuts protobuf text into tokens and says where in the file each one stands. Knows no message."""

from __future__ import annotations

import re

from sdcaffe import reading
from sdcaffe.errors import Place, PrototxtError
from sdcaffe.proto.excerpt import excerpt

NAME, NUMBER, STRING, SIGN, END = range(1, 6)

# Blanks and comments, then one token. What fits nothing is left to `_complain`. Repetitions are possessive: one that
# may be tried again takes some 200 bytes a letter.
_TOKEN = re.compile(
    r"""(?:[ \t\r\n\v\f]++|\#[^\n]*+)*+(?:
    ([A-Za-z_][A-Za-z0-9_]*)
    |((?:[0-9]|\.[0-9])[0-9A-Za-z_.]*(?:(?<=[eE])[+-][0-9A-Za-z_.]*)?)
    |("(?:[^"\\\n]++|\\[^\n])*+"|'(?:[^'\\\n]++|\\[^\n])*+')
    |([{}<>\[\]:;,/.-])
    |\Z)""",
    re.VERBOSE,
)
_INTEGER = re.compile(r"0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*")
_REAL = re.compile(r"((?!0[0-9])(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)[fF]?")
_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
_SIMPLE = {
    b"a": b"\a",
    b"b": b"\b",
    b"f": b"\f",
    b"n": b"\n",
    b"r": b"\r",
    b"t": b"\t",
    b"v": b"\v",
    b"\\": b"\\",
    b"'": b"'",
    b'"': b'"',
    b"?": b"?",
}


_MOST = 2_000_000  # words and signs of a text: the largest nets have some 100,000
_EACH = 400  # bytes of memory that one may take, with what is made of it
_STEP = 1 << 17  # words between looks at the free memory


class Source:
    """A text and its file's name; turns offsets into `file:line:col`, both counted from 1."""

    def __init__(self, text: str, filename: str) -> None:
        self.text = text
        self.filename = filename

    def where(self, offset: int) -> Place:
        line = self.text.count("\n", 0, offset) + 1
        column = offset - (self.text.rfind("\n", 0, offset) + 1) + 1
        return Place(f"{self.filename}:{line}:{column}", excerpt(self.text, offset))

    def error(self, offset: int, message: str) -> PrototxtError:
        return PrototxtError(message, self.where(offset))


def scan(source: Source) -> tuple[list[int], list[str], list[int]]:
    """The kinds, words and offsets of all tokens; the last is an END. SIGN is any punctuation.

    Raises PrototxtError at a character that begins no token and at a string without an end, and for more tokens than
    any net has or than fit the free memory.
    """
    kinds: list[int] = []
    words: list[str] = []
    offsets: list[int] = []
    text = source.text
    position = 1 if text.startswith("\ufeff") else 0
    size = len(text)
    for match in _TOKEN.finditer(text, position):
        kind = match.lastindex
        if match.start() != position:
            break
        position = match.end()
        if kind is None:
            break
        kinds.append(kind)
        words.append(match[kind])
        offsets.append(match.start(kind))
        if len(kinds) % _STEP == 0:
            _check_count(source, len(kinds))
    if position != size:
        raise _complain(source, position)
    kinds.append(END)
    words.append("")
    offsets.append(size)
    return kinds, words, offsets


def _check_count(source: Source, count: int) -> None:
    if count > _MOST:
        raise PrototxtError(f"has more than {_MOST} words and signs; no net or solver needs so many", source.filename)
    if count * _EACH > (free := reading.free_memory()):
        raise PrototxtError(
            f"has {count} words and signs or more, which may take {count * _EACH} bytes of memory, more than the "
            f"{free} that are free",
            source.filename,
        )


def _complain(source: Source, position: int) -> PrototxtError:
    """The error for a text that goes on after `position` with nothing that is a token."""
    blank = re.compile(r"(?:[ \t\r\n\v\f]++|#[^\n]*+)*+").match(source.text, position)
    offset = blank.end() if blank else position
    character = source.text[offset]
    if character in "\"'":
        return source.error(offset, "a string begins here and has no end on its line; close it with " + character)
    if "\udc80" <= character <= "\udcff":
        return source.error(offset, f"byte 0x{ord(character) - 0xDC00:02x} is not UTF-8; save the file as UTF-8")
    shown = character if character.isprintable() else f"\\x{ord(character):02x}"
    return source.error(offset, f'the character "{shown}" has no meaning here')


def integer(word: str) -> int | None:
    """The value of a decimal, octal (0...) or hexadecimal (0x...) whole number; None for other words."""
    if len(word) > 100 or not _INTEGER.fullmatch(word):
        return None
    if word[:2] in ("0x", "0X"):
        return int(word, 16)
    return int(word, 8) if word[0] == "0" else int(word)


def real(word: str) -> float | None:
    """The value of a decimal number: `1`, `1.`, `.5`, `1e-3`, `1.f`; None for other words, `01` and `01.5` too."""
    match = _REAL.fullmatch(word)
    return None if match is None else float(match[1])


def unescape(word: str) -> bytes:
    """The bytes of a string token, quotes and escapes resolved. Raises ValueError for a wrong escape."""
    return _ESCAPE.sub(_resolved, word[1:-1].encode("utf-8", "surrogateescape"))


def _resolved(match: re.Match[bytes]) -> bytes:
    octal, hexadecimal, short, long, other = match.groups()
    if octal:
        if int(octal, 8) > 255:
            raise ValueError(f"\\{octal.decode()} is more than a byte")
        return bytes([int(octal, 8)])
    if hexadecimal:
        return bytes([int(hexadecimal, 16)])
    if short or long:
        code = int(short or long, 16)
        if code > 0x10FFFF or 0xD800 <= code < 0xE000:
            raise ValueError(f"U+{code:X} is no character")
        return chr(code).encode()
    if other not in _SIMPLE:
        raise ValueError(f"\\{other.decode('utf-8', 'replace')} is no escape sequence; write \\\\ for a backslash")
    return _SIMPLE[other]
