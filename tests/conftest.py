"""One torch thread a test process, and a program that tests start: pytest runs as many processes as there are cores."""

from __future__ import annotations

import gc
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from pages import environment
from warm_commands import WarmCommands

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")  # a busy machine fails no test

os.environ.setdefault("OMP_NUM_THREADS", "1")

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as a shell starts what runs behind it; programs inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection() -> None:
    gc.disable()


def pytest_collection_finish() -> None:
    """Thousands of tests and all that they import stay to the end: no collection looks at them again."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def warm() -> Iterator[WarmCommands]:
    """For tests of many commands, which need not start a program each."""
    with tempfile.TemporaryDirectory() as folder, WarmCommands(Path(folder), environment()) as commands:
        yield commands


@pytest.fixture
def lines_run() -> Callable[[Callable[[], object]], int]:
    """How many lines of Python a call runs: its cost in a number that no busy machine changes."""

    def count(function: Callable[[], object]) -> int:
        lines = 0

        def trace(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal lines
            lines += event == "line"
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            function()
        finally:
            sys.settrace(before)
        return lines

    return count
