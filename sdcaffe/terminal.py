"""What may reach a terminal: text whose control characters are shown, on streams that may be closed, full or narrow.

It decides nothing about what is said. A display that draws with a terminal's own codes writes to `raw(stream)`.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TextIO, cast

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def shown(text: str) -> str:
    r"""`text` with every control character but line breaks and tabs as its number, `\x1b`, and so a byte that is no
    UTF-8, as file names may have. A terminal takes it for nothing but text, and any encoding that has Unicode holds it.
    """
    return _CONTROL.sub(_number, text)


def _number(match: re.Match[str]) -> str:
    number = ord(match[0])
    if 0xDC80 <= number <= 0xDCFF:  # how Python holds a byte that is no UTF-8
        number -= 0xDC00
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


class _Guarded:
    """A text stream that gets `shown` text, with the escapes of Python for what its encoding lacks.

    A `quiet` one swallows what cannot be written, as on a full disk: the work is worth more than what is said of it.
    So does every one whose reader has `gone`, as `head` goes: the reader has enough, and the work goes on.
    """

    def __init__(self, stream: TextIO, *, quiet: bool) -> None:
        self.stream, self._quiet, self.gone = stream, quiet, False

    def write(self, text: str) -> int:
        safe = shown(text)
        try:
            try:
                self.stream.write(safe)
            except UnicodeEncodeError:
                encoding = self.stream.encoding
                self.stream.write(safe.encode(encoding, "backslashreplace").decode(encoding))
        except BrokenPipeError:
            self._lead_nowhere()
        except (OSError, ValueError):  # ValueError: somebody closed it
            if not self._quiet:
                raise
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        try:
            self.stream.flush()
        except BrokenPipeError:
            self._lead_nowhere()
        except (OSError, ValueError):
            if not self._quiet:
                raise

    def _lead_nowhere(self) -> None:
        """For what is still to be flushed, and what the next program would print."""
        self.gone = True
        try:
            with open(os.devnull, "w", encoding="utf-8") as nowhere:
                os.dup2(nowhere.fileno(), self.stream.fileno())
        except (OSError, ValueError):  # it has no descriptor
            pass

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def raw(stream: TextIO) -> TextIO:
    """The stream itself: for a display that moves the cursor, whose texts are `shown` before."""
    return stream.stream if isinstance(stream, _Guarded) else stream


def unheard() -> bool:
    """Whether the reader of standard output has gone. For a command that does nothing but print, and for long."""
    return isinstance(sys.stdout, _Guarded) and sys.stdout.gone


@contextmanager
def guarded() -> Iterator[None]:
    """Guard standard output and standard error while the context lasts; those that are closed lead nowhere.

    Descriptors 0 to 2 that are closed are opened first, lest the next file that is written be what is printed on.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest that is free: this one
    before: tuple[TextIO | None, TextIO | None] = sys.stdout, sys.stderr
    with ExitStack() as stack:  # where both are open no file is: there may be no handle for one

        def nowhere() -> TextIO:
            return stack.enter_context(open(os.devnull, "w", encoding="utf-8"))

        sys.stdout = cast(TextIO, _Guarded(before[0] or nowhere(), quiet=False))
        sys.stderr = cast(TextIO, _Guarded(before[1] or nowhere(), quiet=True))
        try:
            yield
        finally:
            sys.stdout, sys.stderr = cast(tuple[TextIO, TextIO], before)
