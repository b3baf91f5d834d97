"""Shows on a terminal how work proceeds: lines for each run that trains, a bar for what is counted.

What stands in a run's lines is `view`'s business. What they report to where there is no terminal is
`sdcaffe.log.Progress` and `no_tick`.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from sdcaffe.log import Progress, Tick, accuracy, no_tick, setup
from sdcaffe.run.view import View, lines
from sdcaffe.terminal import raw
from sdcaffe.terminal import shown as as_text

if TYPE_CHECKING:
    from rich.text import Text

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
    """The foot of a terminal: lines for each run that shows itself there, with what is said scrolling above them."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live

        self.console = Console(file=raw(stream), soft_wrap=True)
        self._views: dict[str, View] = {}
        self._open = 0
        self.live = Live(console=self.console, auto_refresh=False, get_renderable=self._drawn)

    def add(self) -> None:
        """One more run will show itself, from its first update on."""
        self._open += 1

    def show(self, run: str, view: View) -> None:
        """Show the run of a name as it is now."""
        self._views[run] = view
        self.live.start()
        self.live.refresh()

    def leave(self) -> None:
        """One run is over; its lines stay. When it was the last, so does the display."""
        self._open -= 1
        if not self._open:
            self.live.stop()

    def _drawn(self) -> Text:
        from rich.text import Text

        width, height = self.console.size
        rows = max(1, (height - 1) // max(len(self._views), 1))
        drawn = [line for run, view in self._views.items() for line in lines(view, as_text(run), width, rows)]
        return Text("\n".join(drawn), no_wrap=True, overflow="crop")


class LiveProgress(Progress):
    """The lines of a run on a screen. `clock` is in seconds."""

    shows = True

    def __init__(self, screen: Screen, run: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._screen, self._run, self._clock = screen, run, clock
        screen.add()
        self._seen: deque[tuple[float, int]] = deque(maxlen=WINDOW)
        self._begun = clock()
        self._best: float | None = None

    def due(self) -> bool:
        return not self._seen or self._clock() - self._seen[-1][0] >= REFRESH

    def update(
        self,
        iteration: int,
        max_iter: int,
        *,
        loss: float,
        lr: float,
        images: int,
        epoch: float | None = None,
        terms: Mapping[str, float] | None = None,
        outputs: Mapping[str, float] | None = None,
    ) -> None:
        self._seen.append((self._clock(), iteration))
        view = View(iteration, max_iter, loss, lr, images, epoch, terms or {}, outputs or {}, self.scores.get(0, {}))
        view.best, view.elapsed = self._best, self._seen[-1][0] - self._begun
        seconds = self._seen[-1][0] - self._seen[0][0]
        done = self._seen[-1][1] - self._seen[0][1]
        if seconds > 0 and done > 0:
            view.rate, view.left = done / seconds, (max_iter - iteration) * seconds / done
        self._screen.show(self._run, view)

    def tested(self, net: int, scores: Mapping[str, float], iteration: int = 0) -> None:
        super().tested(net, scores, iteration)
        value = accuracy(self.scores.get(0, {}))
        if value is not None:
            self._best = value if self._best is None else max(self._best, value)

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
