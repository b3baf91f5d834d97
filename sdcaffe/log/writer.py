"""Writes log lines in the shape BVLC Caffe's glog gives them; does not know what is logged.

A line is `I1123 04:57:13.105028 21503 solver.cpp:289] Solving tiny`: severity, local month, day and time, thread,
the place in Caffe's source that says the same, message. A message of many lines has one prefix. Later glogs put the
year before the month, which Caffe's own parse_log.py cannot read; here, as in glog then, it is in a file's header.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime
from io import TextIOWrapper
from pathlib import Path
from typing import NamedTuple, TextIO

from sdcaffe.errors import SdcaffeError
from sdcaffe.log.progress import Progress
from sdcaffe.terminal import shown
from sdcaffe.writing import make_folders

logger = logging.getLogger("sdcaffe")

# What glog writes at the head of a file, less the name of the machine.
_HEADER = (
    "Log file created at: %Y/%m/%d %H:%M:%S\nLog line format: [IWEF]mmdd hh:mm:ss.uuuuuu threadid file:line] msg\n"
)
_PIECE = 1 << 20  # bytes of a log looked at together
_LETTERS = ((logging.CRITICAL, "F"), (logging.ERROR, "E"), (logging.WARNING, "W"))


def glog(tag: str, message: str | Callable[[], str], level: int = logging.INFO) -> None:
    """Log `message` as Caffe's source at `tag` would: `glog("solver.cpp:289", "Solving tiny")`.

    A message that is costly to make may be given as a function; it is called only if somebody listens.
    """
    if logger.isEnabledFor(level):
        logger.log(level, message() if callable(message) else message, extra={"tag": tag})


def number(value: float) -> str:
    """A number as a C++ stream prints it: integers whole, others with six significant digits."""
    return str(value) if isinstance(value, int) else f"{value:g}"


class GlogFormatter(logging.Formatter):
    """glog's line shape. A record without a tag shows the Python file and line it came from.

    `run` is the name of one of several runs; its lines begin with it.
    """

    def __init__(self, run: str = "") -> None:
        super().__init__()
        self._begin = f"[{run}] " if run else ""

    def format(self, record: logging.LogRecord) -> str:
        letter = next((letter for level, letter in _LETTERS if record.levelno >= level), "I")
        moment = datetime.fromtimestamp(record.created).strftime("%m%d %H:%M:%S.%f")
        tag = getattr(record, "tag", None) or f"{record.filename}:{record.lineno}"
        message = super().format(record).removesuffix("\n")
        return shown(f"{self._begin}{letter}{moment} {threading.get_native_id():5d} {tag}] {message}")


@contextmanager
def setup(
    file: str | Path | None = None,
    stream: TextIO | None = None,
    *,
    append: bool = False,
    run: str = "",
    progress: Progress | None = None,
) -> Iterator[Progress]:
    """Send the log to `file` and to `stream` (standard error) while the context lasts.

    A `progress` that shows itself takes the place of scrolling lines on `stream`; it is told warnings and errors. A
    resumed run appends to its `file`; any other begins anew and keeps the file that was there as `<file>.previous`,
    unless it shows no training and would take the place of one that may. A `file` that shows training stays as it is
    until `started`: what ends before that is told on `stream` alone. An exception that ends the context is the last
    entry of `file`. Of several runs, each has a name on `stream`, `run`. Yields what the solver reports its progress
    to.
    """
    stream = stream or sys.stderr
    progress = progress or Progress()
    watcher: logging.Handler = _AboveDisplay(progress) if progress.shows else logging.StreamHandler(stream)
    written = _file_handler(Path(file), append) if file is not None else None
    if written is not None:
        written.tell = progress.say if progress.shows else lambda text: print(text, file=stream)
    handlers = [handler for handler in (watcher, written) if handler is not None]
    before = logger.level, logger.propagate
    logger.setLevel(logging.INFO)
    logger.propagate = False
    for handler in handlers:
        handler.setFormatter(GlogFormatter(run if handler is watcher else ""))
        logger.addHandler(handler)
    try:
        yield progress
        if written is not None:
            written.begin()
    except BaseException as error:
        if written is not None:
            written.handle(_last_entry(error))
        raise
    finally:
        progress.close()
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()
        logger.setLevel(before[0])
        logger.propagate = before[1]


@contextmanager
def silent() -> Iterator[Progress]:
    """Send the log nowhere while the context lasts. Yields what the solver reports its progress to."""
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield Progress()
    finally:
        logger.setLevel(before)


def started() -> None:
    """Say that there is something to log, an iteration or a batch of a test: the files of logs are now written."""
    for handler in logger.handlers:
        if isinstance(handler, _LogFile):
            handler.begin()


class Destination(NamedTuple):
    """Where the log goes: what `setup` changes of a logger."""

    handlers: list[logging.Handler]
    level: int
    propagate: bool


def destination() -> Destination:
    """Where the log goes now."""
    return Destination(list(logger.handlers), logger.level, logger.propagate)


def redirect(to: Destination) -> None:
    """Send the log to `to` from now on. For several runs that take turns."""
    logger.handlers, logger.propagate = list(to.handlers), to.propagate
    if logger.level != to.level:  # which takes longer than all the rest
        logger.setLevel(to.level)


class _AboveDisplay(logging.Handler):
    def __init__(self, progress: Progress) -> None:
        super().__init__(logging.WARNING)
        self._progress = progress

    def emit(self, record: logging.LogRecord) -> None:
        self._progress.say(self.format(record))


class _LogFile(logging.FileHandler):
    """A log file. One that cannot be written, on a full disk, does not end the run: `tell` is told, once.

    What has `make_way` is held back until `begin`, which calls it, to move an older log away, before it writes.
    """

    tell: Callable[[str], None]
    _told = False

    def __init__(self, path: Path, make_way: Callable[[], None] | None) -> None:
        super().__init__(path, mode="a", encoding="utf-8", delay=make_way is not None)
        self._make_way = make_way
        self._held: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        if self._make_way is None:
            super().emit(record)
        else:
            self._held.append(record)

    def begin(self) -> None:
        """Write what was held back, and from now on what comes."""
        if self._make_way is None:
            return
        with self.lock or nullcontext():
            make_way, self._make_way = self._make_way, None
            try:
                make_way()
            except OSError as error:
                self._failed(error)
            for record in self._held:
                self.emit(record)
            self._held.clear()

    def _open(self) -> TextIOWrapper:
        stream = super()._open()
        stream.write(datetime.now().strftime(_HEADER))
        return stream

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            self._failed(error)
        else:
            super().handleError(record)

    def close(self) -> None:
        try:
            super().close()
        except OSError as error:
            self._failed(error)

    def _failed(self, error: OSError) -> None:
        if not self._told:
            self._told = True
            self.tell(f"sdcaffe: warning: {self.baseFilename}: the log cannot be written: {error.strerror}")


def _file_handler(path: Path, append: bool) -> _LogFile:
    make_folders(path.parent)
    if not path.is_file():
        return _LogFile(path, None)
    with path.open("ab"):  # one that cannot be written is told before there is anything to write
        pass
    if _shows_training(path):
        return _LogFile(path, lambda: _make_way(path, append))
    if append or not _previous(path).exists():
        _make_way(path, append)
    else:
        path.unlink()
    return _LogFile(path, None)


def _make_way(path: Path, append: bool) -> None:
    if append:
        _end_last_line(path)
    else:
        os.replace(path, _previous(path))


def _previous(path: Path) -> Path:
    return path.with_name(path.name + ".previous")


def _shows_training(path: Path) -> bool:
    with path.open("rb") as file:
        pieces = iter(lambda: file.readline(_PIECE), b"")
        return any(sign in piece for piece in pieces for sign in (b"] Iteration ", b"] Solving "))


def _end_last_line(path: Path) -> None:
    with path.open("rb+") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")


def _last_entry(error: BaseException) -> logging.LogRecord:
    """What the file says of the exception that ends a run: one line for a known error, else its traceback."""
    known = isinstance(error, (SdcaffeError, KeyboardInterrupt, SystemExit))
    message = (error.summary if isinstance(error, SdcaffeError) else str(error)) or type(error).__name__
    trace = None if known else (type(error), error, error.__traceback__)
    return logging.LogRecord(logger.name, logging.ERROR, "sdcaffe", 0, message, None, trace)
