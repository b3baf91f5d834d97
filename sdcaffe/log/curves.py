"""What logs hold as curves: loss, test error and learning rate, and the mean over runs. It draws nothing."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath

from sdcaffe.log.rows import FINISHED, Run, TestRow, TrainRow, accuracy

_EARLY = 0.15  # of a run; before that curves may leave the picture
_POINTS = 100  # of a curve of single iterations
_ROOM = 0.06  # of the height above and below the curves

Place = Callable[[TrainRow | TestRow], float]


@dataclass
class Curve:
    """Points at iterations `at`, drawn at `x`; `low` and `high` are the mean's deviation, where runs are several.

    `test` curves stand out from those of training; `net` is the test net. One of a run that was cut short is not
    `whole`.
    """

    at: list[int] = field(default_factory=list)
    x: list[float] = field(default_factory=list)
    y: list[float] = field(default_factory=list)
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)
    test: bool = False
    net: int = 0
    whole: bool = True

    def add(self, row: TrainRow | TestRow, place: Place, y: float) -> None:
        if abs(y) <= _LARGEST:
            self.at.append(row.iteration)
            self.x.append(place(row))
            self.y.append(y)


_LARGEST = 3.4028235e38  # of float32, which Caffe computes in; nan and inf are no less

Gather = Callable[[Run, Place], list[Curve]]


@dataclass(frozen=True)
class Panel:
    """One of a picture's panels: what its axis says, and the curves of a run in it. `steps` are held, not joined."""

    title: str
    gather: Gather
    steps: bool = False

    def curves(self, runs: Sequence[Run], place: Place) -> list[Curve]:
        """The mean of whole runs of equal settings, and each that was cut short by itself."""
        whole = [self.gather(run, place) for run in runs if run.end == FINISHED]
        found = [mean(curves) for curves in zip(*whole, strict=True)]
        for run in runs:
            if run.end != FINISHED:
                found += [replace(curve, whole=False) for curve in self.gather(run, place)]
        return [curve for curve in found if curve.x]


def mean(curves: Sequence[Curve]) -> Curve:
    """The mean of curves of several runs, and its sample deviation, at the iterations that all of them have."""
    if len(curves) == 1:
        return curves[0]
    shared = sorted(set.intersection(*(set(curve.at) for curve in curves)))
    found = Curve(at=shared, test=curves[0].test, net=curves[0].net)
    points = [{at: (x, y) for at, x, y in zip(c.at, c.x, c.y, strict=True)} for c in curves]
    for at in shared:
        xs, ys = zip(*(of[at] for of in points), strict=True)
        y, deviation = statistics.fmean(ys), statistics.stdev(ys)
        found.x.append(statistics.fmean(xs))
        found.y.append(y)
        found.low.append(y - deviation)
        found.high.append(y + deviation)
    return found


def span(curves: Sequence[Curve], marks: Iterable[float] = ()) -> tuple[float, float]:
    """The y axis that fits the curves, bands and `marks` included; where no curve is below 0, nor is the axis.

    Early parts that would more than double its height leave the picture at its top: an untrained net with BatchNorm
    has a loss of 87.
    """
    start = _EARLY * max(x for curve in curves for x in curve.x)
    every, late = list(marks), list(marks)
    for curve in curves:
        for heights in (curve.y, curve.low, curve.high):
            every += heights
            late += [y for x, y in zip(curve.x, heights, strict=False) if x >= start]
    low, high = min(every), max(every)
    if high - low > 2 * (max(late) - low) > 0:
        high = max(late)
    room = _ROOM * (high - low) or abs(high) * _ROOM or 1.0
    return (low - room if min(min(curve.y) for curve in curves) < 0 else max(0.0, low - room)), high + room


def short_names(paths: Sequence[str]) -> list[str]:
    """Of each path as many of its last parts as tell it from the others."""
    parts = [PurePath(path).parts for path in paths]

    def tails(count: int) -> list[str]:
        return [str(PurePath(*part[-count:])) for part in parts]

    longest = max((len(part) for part in parts), default=1)
    return next((found for n in range(1, longest) if len(set(found := tails(n))) == len(found)), tails(longest))


def losses(run: Run, place: Place) -> list[Curve]:
    """The smoothed training loss."""
    curve = Curve()
    for row in run.train:
        curve.add(row, place, row.loss)
    return [curve]


def losses_in_tests(run: Run, place: Place) -> list[Curve]:
    """The loss of each test net."""
    return _of_tests(run, place, _test_loss)


def errors(run: Run, place: Place) -> list[Curve]:
    """The error of each test net in percent, for nets that report an accuracy."""

    def error(row: TestRow) -> float:
        value = accuracy(row.outputs)
        return math.nan if value is None else 100 * (1 - value)

    return _of_tests(run, place, error)


def rates(run: Run, place: Place) -> list[Curve]:
    """The learning rate, to the end of the run."""
    curve = Curve()
    for row in run.train:
        curve.add(row, place, row.lr)
    if curve.y:
        curve.add(run.train[-1], place, curve.y[-1])
    return [curve]


def outputs(run: Run, place: Place, names: Sequence[str]) -> list[Curve]:
    """The sum of the training net's outputs `names`, where it shows them.

    A log has the values of single iterations: of more than _POINTS, neighbours are averaged.
    """
    curve = Curve()
    for row in run.train:
        if names:
            curve.add(row, place, sum(row.outputs.get(name, math.nan) for name in names))
    step = math.ceil(len(curve.at) / _POINTS)
    if step > 1:
        starts = range(0, len(curve.at) - step + 1, step)
        curve.at = [curve.at[i + step - 1] for i in starts]
        curve.x, curve.y = ([statistics.fmean(v[i : i + step]) for i in starts] for v in (curve.x, curve.y))
    return [curve]


def _of_tests(run: Run, place: Place, value: Callable[[TestRow], float]) -> list[Curve]:
    nets = sorted({row.net for row in run.test})
    curves = {net: Curve(test=True, net=net) for net in nets}
    for row in run.test:
        curves[row.net].add(row, place, value(row))
    return list(curves.values())


def _test_loss(row: TestRow) -> float:
    """The total loss where it is logged, else the output called loss, else the first whose name says so."""
    if math.isfinite(row.loss):
        return row.loss
    names = [name for name in row.outputs if "loss" in name.lower()]
    return row.outputs["loss" if "loss" in names else names[0]] if names else math.nan


PANELS = (
    Panel("training loss", losses),
    Panel("test loss", losses_in_tests),
    Panel("test error, %", errors),
    Panel("learning rate", rates, steps=True),
)
