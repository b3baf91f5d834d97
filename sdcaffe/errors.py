"""The errors a user can meet.

    SdcaffeError            every error of this package
      PrototxtError         text or binary protobuf that cannot be read
      GraphError            layers that cannot be wired: unknown or duplicate blobs, bad rules
      LayerError            a layer that cannot take its bottoms or its parameters
        SharingError        two nets whose layers of one name cannot share weights
      WeightsError          weights that do not fit the net
      SnapshotError         a snapshot that cannot be written, read or resumed
      DataError             a data source that is missing, broken or of the wrong shape
      SolverError           a solver setting without meaning, or training that diverged
      UsageError            flags or arguments that do not go together; the command line exits 2

A message says what is wrong, with the values, and how to mend it; `where` says where
(`file:line:col`, a path). Below a mistake in a prototxt stands the line, with a caret at the place. The command
line prints that and exits 1, never a traceback.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable

from sdcaffe.terminal import shown

_NO_MEMORY = re.compile("allocate memory|out of memory")  # in what torch raises
_NO_THREAD = "can't start new thread"  # in what Python raises
_NO_LIBRARY = re.compile(r"\.so\b|shared object|DLL load failed")  # in what the system's loader says
_LONG_WORD = re.compile(r"\S{1000,}")  # no name and hardly a path: what a damaged or hostile file holds
_KEPT = 200  # characters of such a word that are told
_MOST = 20_000  # characters of a message
_ALIKE = 100  # characters of a word that may be a slip of the pen


class Place(str):
    """`file:line:col` of a text at hand; `excerpt` shows the line with a caret below the place."""

    excerpt: str

    def __new__(cls, where: str, excerpt: str) -> Place:
        place = super().__new__(cls, where)
        place.excerpt = excerpt
        return place

    def __reduce__(self) -> tuple[type[Place], tuple[str, str]]:
        return Place, (str(self), self.excerpt)


class SdcaffeError(Exception):
    """Root of the tree. `str(error)` is `where: message`, or the message where no place is known.

    Where the place is one of a text at hand, lines that show it follow: its `excerpt`.
    """

    def __init__(self, message: str, where: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where

    @property
    def excerpt(self) -> str:
        """The line of the file that is wrong, a caret below the place; "" where the line is not at hand."""
        return self.where.excerpt if isinstance(self.where, Place) else ""

    @property
    def summary(self) -> str:
        """`where: message` without the excerpt: for a sentence of another error, a log, a table.

        Control characters that a file brought into it are `shown`, and of words without an end the beginning.
        """
        return shown(_shortened(f"{self.where}: {self.message}" if self.where else self.message))

    def __str__(self) -> str:
        return f"{self.summary}\n{self.excerpt}" if self.excerpt else self.summary


class PrototxtError(SdcaffeError):
    pass


class NetError(SdcaffeError):
    """An error of one layer of a net: `layer` and `field` let a reader of a file add the line."""

    def __init__(
        self,
        message: str,
        where: str | None = None,
        *,
        layer: str | None = None,
        field: str | None = None,
    ) -> None:
        super().__init__(message, where)
        self.layer = layer
        self.field = field


class GraphError(NetError):
    pass


class LayerError(NetError):
    pass


class SharingError(LayerError):
    """Two nets cannot share weights: their layers of one name have other blobs."""


class WeightsError(NetError):
    pass


class SnapshotError(SdcaffeError):
    pass


class DataError(SdcaffeError):
    pass


class UsageError(SdcaffeError):
    pass


class SolverError(SdcaffeError):
    """`field` is the solver's field that is wrong: a reader of its file adds the line."""

    def __init__(self, message: str, where: str | None = None, *, field: str | None = None) -> None:
        super().__init__(message, where)
        self.field = field


def _shortened(text: str) -> str:
    """A message without the most of words that nobody can read; one that is too long even so without its middle."""
    text = _LONG_WORD.sub(lambda match: f"{match[0][:_KEPT]}...{match[0][-1]}", text)
    return text if len(text) <= _MOST else f"{text[: _MOST // 2]} ... {text[-_MOST // 2 :]}"


def one_line(error: BaseException) -> str | None:
    """What a command says of an error that a user can meet, in one line; None for a fault of the program."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error))):
        return "there is not enough memory"
    if isinstance(error, RuntimeError) and _NO_THREAD in str(error):
        return "no thread can be started: this user, or this machine, runs as many as it may"
    if isinstance(error, OSError) and error.errno is not None:
        if isinstance(error, FileNotFoundError) and not error.filename and _is_nowhere():
            return "the folder that this runs in is gone"
        return shown(f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror))
    if isinstance(error, (ImportError, OSError)) and _NO_LIBRARY.search(str(error)):
        return shown(f"a library cannot be loaded: {' '.join(str(error).split())}")
    return " ".join(error.summary.split("\n")) if isinstance(error, SdcaffeError) else None


def _is_nowhere() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


def told(error: BaseException) -> str | None:
    """What a command prints of an error that a user can meet: `one_line`, and the excerpt below it."""
    excerpt = error.excerpt if isinstance(error, SdcaffeError) else ""
    line = one_line(error)
    return f"{line}\n{excerpt}" if line is not None and excerpt else line


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word most like `word`, upper and lower case taken as one; None where none is alike."""
    if len(word) > _ALIKE:  # difflib takes seconds for a word of megabytes
        return None
    folded = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), folded, n=1)
    return folded[near[0]] if near else None


def unknown(what: str, word: str, known: Iterable[str]) -> str:
    """The sentence for a word that is none of the `known` ones."""
    names = list(known)
    near = nearest(word, names)
    meant = f'Did you mean "{near}"? ' if near is not None else ""
    return f'unknown {what} "{word}". {meant}There are {", ".join(names)}'
