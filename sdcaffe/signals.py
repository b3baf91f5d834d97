"""What Ctrl-C and SIGHUP ask of a running solver. The solver asks back once an iteration; see `check`."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any, Literal

Action = Literal["snapshot", "stop"]
Effect = Literal["snapshot", "stop", "none"]


class SignalHandler:
    """Turns SIGINT and SIGHUP into actions while its context lasts, as Caffe's does; main thread only.

    "snapshot" saves and goes on, "stop" ends training (the solver then saves, unless snapshot_after_train
    is false), "none" ignores the signal. Unlike Caffe's, a second SIGINT on the way to a stop ends the run
    at once, with KeyboardInterrupt.
    """

    def __init__(self, sigint: Effect = "stop", sighup: Effect = "snapshot") -> None:
        self._effects: dict[int, Effect] = {signal.SIGINT: sigint}
        if hasattr(signal, "SIGHUP"):  # Windows has none
            self._effects[signal.SIGHUP] = sighup
        self._waiting: list[Action] = []
        self._stopping = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> SignalHandler:
        for number in self._effects:
            self._before[number] = signal.signal(number, self._received)
        return self

    def __exit__(self, *error: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before if before is not None else signal.SIG_DFL)

    def check(self) -> Action | None:
        """The next action asked for and not yet given out, or None."""
        return self._waiting.pop(0) if self._waiting else None

    def _received(self, number: int, frame: FrameType | None) -> None:
        effect = self._effects[number]
        if effect == "stop":
            if self._stopping and number == signal.SIGINT:
                raise KeyboardInterrupt
            self._stopping = True
        if effect != "none" and effect not in self._waiting:
            self._waiting.append(effect)
