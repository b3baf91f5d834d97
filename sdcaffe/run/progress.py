"""Shows on a terminal how work proceeds: a line for each run that trains, a bar for what is counted.

What they report to where there is no terminal is `sdcaffe.log.Progress` and `no_tick`.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from sdcaffe.log import Progress, Tick, accuracy, no_tick, setup
from sdcaffe.terminal import raw
from sdcaffe.terminal import shown as as_text

if TYPE_CHECKING:
    from rich.progress import TaskID

REFRESH = 0.25  # seconds between two updates of the display
WINDOW = 120  # updates over which the speed is averaged: half a minute


def is_terminal(stream: TextIO) -> bool:
    """Whether a display that rewrites its line makes sense on `stream`."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


@contextmanager
def bar(what: str, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> Iterator[Tick]:
    """A tick that draws a bar at the foot of a terminal, of `what` is counted; elsewhere it does nothing.

    `stream` is standard error unless given. The bar stays, as it is then, when the block ends.
    """
    stream = stream or sys.stderr
    if not is_terminal(stream):
        yield no_tick
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn(what, markup=False), MofNCompleteColumn(), BarColumn(bar_width=20), TimeRemainingColumn())
    display = Bar(*columns, console=Console(file=raw(stream), soft_wrap=True), auto_refresh=False)
    task = display.add_task("", total=None)
    shown = -REFRESH

    def tick(done: int, total: int) -> None:
        nonlocal shown
        display.update(task, completed=done, total=total)
        if done >= total or clock() - shown >= REFRESH:
            shown = clock()
            display.start()
            display.refresh()

    try:
        yield tick
    finally:
        display.stop()


class Screen:
    """The foot of a terminal: a line for each run that shows itself there, with what is said scrolling above them."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as Bar

        self.console = Console(file=raw(stream), soft_wrap=True)
        self.bar = Bar(
            TextColumn("{task.fields[run]}iteration", markup=False),
            MofNCompleteColumn(),
            BarColumn(bar_width=20),
            TextColumn("{task.description}"),
            console=self.console,
            auto_refresh=False,
        )
        self._open = 0

    def add(self, run: str) -> TaskID:
        """A line for `run`, seen from its first update on."""
        self._open += 1
        return self.bar.add_task("", total=None, visible=False, run=f"{as_text(run)}  " if run else "")

    def leave(self) -> None:
        """One run is over; its line stays. When it was the last, so does the display."""
        self._open -= 1
        if not self._open:
            self.bar.stop()


class LiveProgress(Progress):
    """The line of a run on a screen. `clock` is in seconds."""

    shows = True

    def __init__(self, screen: Screen, run: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._screen = screen
        self._task = screen.add(run)
        self._clock = clock
        self._seen: deque[tuple[float, int]] = deque(maxlen=WINDOW)

    def due(self) -> bool:
        return not self._seen or self._clock() - self._seen[-1][0] >= REFRESH

    def update(self, iteration: int, max_iter: int, *, loss: float, lr: float, images: int) -> None:
        self._seen.append((self._clock(), iteration))
        parts = [f"loss {loss:.4g}", f"lr {lr:g}"]
        seconds = self._seen[-1][0] - self._seen[0][0]
        done = self._seen[-1][1] - self._seen[0][1]
        if seconds > 0 and done > 0:
            parts.append(f"{done * images / seconds:.0f} images/s")
            parts.append(f"{_clock_time((max_iter - iteration) * seconds / done)} left")
        tested = accuracy(self.scores.get(0, {}))
        if tested is not None:
            parts.append(f"test accuracy {tested:.2%}")
        description = "  ".join(parts)
        bar = self._screen.bar
        bar.update(self._task, completed=iteration, total=max_iter, description=description, visible=True)
        bar.start()
        bar.refresh()

    def say(self, text: str) -> None:
        self._screen.console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        self._screen.leave()


@contextmanager
def shown(
    file: str | Path | None = None,
    stream: TextIO | None = None,
    *,
    append: bool = False,
    run: str = "",
    screen: Screen | None = None,
) -> Iterator[Progress]:
    """`log.setup`; where `stream` (standard error) is a terminal, with the line of a run in place of scrolling lines.

    Of several runs, each has a name, `run`, and all share one `screen`. Yields what the solver reports to.
    """
    stream = stream or sys.stderr
    display = LiveProgress(screen or Screen(stream), run) if is_terminal(stream) else Progress()
    with setup(file, stream, append=append, run=run, progress=display) as progress:
        yield progress


def _clock_time(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}"
