"""Times several ways of doing the same work in turns, so that a busy or throttled machine slows all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping


class Times:
    """Seconds of one call, by name and round."""

    def __init__(self, seconds: dict[str, list[float]]) -> None:
        self.seconds = seconds

    def median(self, name: str) -> float:
        return statistics.median(self.seconds[name])

    def ratio(self, name: str, rival: str) -> tuple[float, float, float]:
        """Median, least and largest of the rounds' ratios."""
        ratios = [a / b for a, b in zip(self.seconds[name], self.seconds[rival], strict=True)]
        return statistics.median(ratios), min(ratios), max(ratios)


def take_turns(
    ways: Mapping[str, Callable[[], None]],
    rounds: int,
    calls: int = 1,
    wait: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> Times:
    """Call each of `ways` `calls` times a round, in turns, after two calls to warm up; `wait` ends a measurement."""
    for way in ways.values():
        way()
        way()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for i in range(rounds):
        order = list(ways.items())
        for name, way in order if i % 2 else reversed(order):
            wait()
            start = clock()
            for _ in range(calls):
                way()
            wait()
            seconds[name].append((clock() - start) / calls)
    return Times(seconds)
