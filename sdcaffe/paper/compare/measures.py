"""What the predictions of runs are worth, where their last tests say it (`test_metrics`): by seeds and mechanisms."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from sdcaffe.paper.compare.comparison import Comparison, Group, Spread
from sdcaffe.paper.compare.intervals import Interval, between, pairs
from sdcaffe.paper.compare.sets import every_group

HEADING = ("network", "data", "mechanism", "seeds")
CONTRAST_HEADING = ("network", "data", "mechanism", "against", "from")


@dataclass(frozen=True)
class Measure:
    """One of a test's values: its name in logs, what it is called, by what it is multiplied, and its digits."""

    output: str
    title: str
    factor: float = 1
    digits: int = 3

    def of(self, group: Group) -> list[tuple[int | None, float]]:
        """The value of each finished run, with its seed."""
        rows = [(run.seed, run.last_test) for run in group.finished]
        return [(seed, self.factor * outputs[self.output]) for seed, outputs in rows if self.output in outputs]

    def spread(self, group: Group) -> Spread | None:
        """Mean and deviation over the seeds."""
        found = [value for _, value in self.of(group)]
        if not found:
            return None
        return Spread(statistics.fmean(found), statistics.stdev(found) if len(found) > 1 else None)

    def show(self, spread: Spread | None) -> str:
        if spread is None:
            return ""
        deviation = "" if spread.deviation is None else f" ± {spread.deviation:.{self.digits}f}"
        return f"{spread.mean:.{self.digits}f}{deviation}"

    def show_interval(self, interval: Interval | None) -> str:
        if interval is None:
            return ""
        low, high = (f"{end:+.{self.digits}f}" for end in (interval.low, interval.high))
        return f"{interval.mean:+.{self.digits}f} ({low} to {high})"


# In the order in which the second study looks at them.
MEASURES = (
    Measure("ece", "ECE"),
    Measure("nll", "NLL"),
    Measure("error", "error, %", 100, 2),
    Measure("nll_scaled", "NLL after one temperature"),
)


@dataclass(frozen=True)
class Contrast:
    """A mechanism less another: an interval for each of MEASURES, None where runs are too few."""

    group: Group
    base: Group
    intervals: tuple[Interval | None, ...]


def measured(found: Comparison) -> list[Group]:
    """The groups with such values."""
    return [group for group in every_group(found) if any(measure.of(group) for measure in MEASURES)]


def contrasts(found: Comparison) -> list[Contrast]:
    """How each mechanism differs from the baseline, from that of as many images, and from two branches."""
    said = []
    for group, base in pairs(measured(found)):
        intervals = tuple(between(measure.of(group), measure.of(base)) for measure in MEASURES)
        if any(intervals):
            said.append(Contrast(group, base, intervals))
    return said


def cells(group: Group) -> tuple[str, ...]:
    """A line under HEADING and the titles of MEASURES."""
    run = group.runs[0]
    shown = (measure.show(measure.spread(group)) for measure in MEASURES)
    return run.network, run.data_set, group.title, str(len(group.finished)), *shown


def contrast_cells(found: Contrast) -> tuple[str, ...]:
    """A line under CONTRAST_HEADING and the titles of MEASURES."""
    run = found.group.runs[0]
    by = next(interval.by for interval in found.intervals if interval)
    pairs_of_measures = zip(MEASURES, found.intervals, strict=True)
    shown = (measure.show_interval(interval) for measure, interval in pairs_of_measures)
    return run.network, run.data_set, found.group.title, found.base.title, by, *shown
