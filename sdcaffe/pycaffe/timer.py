"""Timer: how long a script's own work takes."""

from __future__ import annotations

import time


class Timer:
    """Measures from `start` to `stop`; `ms` is that in milliseconds, and stops a timer that still runs."""

    def __init__(self) -> None:
        self._begun: float | None = None
        self._seconds = 0.0

    def start(self) -> None:
        self._begun = time.perf_counter()

    def stop(self) -> None:
        if self._begun is not None:
            self._seconds, self._begun = time.perf_counter() - self._begun, None

    @property
    def ms(self) -> float:
        self.stop()
        return 1000 * self._seconds
