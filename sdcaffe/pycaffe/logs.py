"""Caffe's log lines on standard error, as much of them as GLOG_minloglevel or a script asks for. Writes no file."""

from __future__ import annotations

import logging
import os

from sdcaffe.log import GlogFormatter, glog

_VARIABLE = "GLOG_minloglevel"
_LEVELS = (logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)


class _Threshold(logging.Filter):
    """Lets pass what is grave enough: as `level` says, else as the environment does when the line comes."""

    level: int | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        given = os.environ.get(_VARIABLE, "0")
        level = self.level if self.level is not None else int(given) if given.isdecimal() else 0
        return record.levelno >= _LEVELS[min(max(level, 0), 3)]


_threshold = _Threshold()
_handler = logging.StreamHandler()
_handler.setFormatter(GlogFormatter())
_handler.addFilter(_threshold)


def show() -> None:
    """Send the log to standard error."""
    logger = logging.getLogger("sdcaffe")
    if _handler not in logger.handlers:
        logger.addHandler(_handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False


def init_log(level: int = 0, to_stderr: bool = True) -> None:
    """Show lines from this level on: 0 all, 1 warnings, 2 errors; where `to_stderr` is false, Python's logging does."""
    _threshold.level = level
    if to_stderr:
        show()


def log(message: str) -> None:
    """Write a line to the log."""
    glog("_caffe.cpp:64", message)
