"""What Ctrl-C, SIGHUP and SIGTERM ask of running solvers. Each asks back once an iteration; see `listener`."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, Literal

Action = Literal["snapshot", "stop"]
Effect = Literal["snapshot", "stop", "none"]


class SignalHandler:
    """Turns SIGINT, SIGTERM (which counts as SIGINT) and SIGHUP into actions while its context lasts.

    As Caffe's does, which knows no SIGTERM; main thread only.

    "snapshot" saves and goes on, "stop" ends training (the solver then saves, unless snapshot_after_train
    is false), "none" ignores the signal. Unlike Caffe's, a second one on the way to a stop ends the run
    at once, with KeyboardInterrupt.
    """

    def __init__(self, sigint: Effect = "stop", sighup: Effect = "snapshot") -> None:
        self._effects: dict[int, Effect] = {signal.SIGINT: sigint, signal.SIGTERM: sigint}
        if hasattr(signal, "SIGHUP"):  # Windows has none
            self._effects[signal.SIGHUP] = sighup
        self._waiting: list[list[Action]] = []
        self._stopping = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> SignalHandler:
        for number in self._effects:
            self._before[number] = signal.signal(number, self._received)
        return self

    def __exit__(self, *error: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before if before is not None else signal.SIG_DFL)

    def listener(self) -> Callable[[], Action | None]:
        """A function for one solver: the next action asked for that it has not given out yet, or None."""
        waiting: list[Action] = []
        self._waiting.append(waiting)
        return lambda: waiting.pop(0) if waiting else None

    def _received(self, number: int, frame: FrameType | None) -> None:
        effect = self._effects[number]
        if effect == "stop":
            if self._stopping and number in (signal.SIGINT, signal.SIGTERM):
                raise KeyboardInterrupt
            self._stopping = True
        for waiting in self._waiting:
            if effect != "none" and effect not in waiting:
                waiting.append(effect)
