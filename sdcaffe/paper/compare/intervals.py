"""How the mechanisms' errors differ, with 95 % intervals over seeds. It judges nothing."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sdcaffe.paper.compare.comparison import Comparison, Group
from sdcaffe.paper.compare.sets import alike, every_group
from sdcaffe.paper.published import BASELINE, TWO_BRANCHES

_CONFIDENCE = 0.95
_AGAINST = (BASELINE, TWO_BRANCHES)
_STEPS = 2000  # of Simpson's rule


@dataclass(frozen=True)
class Interval:
    """A difference of means in percent points, its 95 % interval, and what that is from."""

    mean: float
    low: float
    high: float
    by: str


@dataclass(frozen=True)
class Difference:
    """Test errors of `group` less those of `base`, which differs from it by the mechanism alone."""

    group: Group
    base: Group
    interval: Interval


def differences(found: Comparison) -> list[Difference]:
    """Each mechanism against the baseline and against two branches, where both have runs enough for an interval."""
    said = []
    for group, base in pairs(group for group in every_group(found) if group.finished):
        interval = between(_errors(group), _errors(base))
        if interval:
            said.append(Difference(group, base, interval))
    return said


def pairs(groups: Iterable[Group]) -> Iterator[tuple[Group, Group]]:
    """Each mechanism with what it is held against: the baseline, the same of twice the images a step, two branches."""
    every = list(groups)
    for group in every:
        for name in _AGAINST if group.runs[0].mechanism != BASELINE else ():
            for base in every:
                if base.runs[0].mechanism == name != group.runs[0].mechanism and alike(group, base):
                    yield group, base


def _errors(group: Group) -> list[tuple[int | None, float]]:
    return [(run.seed, error) for run in group.finished if (error := run.last()) is not None]


def between(first: Sequence[tuple[int | None, float]], second: Sequence[tuple[int | None, float]]) -> Interval | None:
    """The mean of `first`, values with their seeds, less that of `second`; None where there are too few.

    Paired by seed where two or more seeds are shared, then over these; else Welch's, with variances of their own.
    """
    pairs = _paired(dict(first), dict(second))
    if len(pairs) > 1:
        mean, error = statistics.fmean(pairs), statistics.stdev(pairs) / math.sqrt(len(pairs))
        reach = error * t_quantile(len(pairs) - 1)
        return Interval(mean, mean - reach, mean + reach, f"{len(pairs)} pairs of seeds")
    values = [[value for _, value in found] for found in (first, second)]
    if min(map(len, values)) < 2:
        return None
    parts = [statistics.variance(found) / len(found) for found in values]
    mean = statistics.fmean(values[0]) - statistics.fmean(values[1])
    total = sum(parts)
    freedom = total**2 / sum(p**2 / (len(v) - 1) for p, v in zip(parts, values, strict=True)) if total else 1.0
    reach = math.sqrt(total) * t_quantile(freedom)
    return Interval(mean, mean - reach, mean + reach, f"Welch, {len(values[0])} and {len(values[1])} runs")


def _paired(first: Mapping[int | None, float], second: Mapping[int | None, float]) -> list[float]:
    return [value - second[seed] for seed, value in first.items() if seed is not None and seed in second]


def t_quantile(freedom: float) -> float:
    """The t beyond which, to both sides, 5 % of Student's distribution lie; `freedom` is 1 or more, whole or not.

    With t = sqrt(freedom) tan(x), the share within is an integral of cos(x) ** (freedom - 1), a smooth function.
    """
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(math.pi)
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        if 2 * scale * _integral(freedom - 1, middle) < _CONFIDENCE:
            low = middle
        else:
            high = middle
    return math.sqrt(freedom) * math.tan((low + high) / 2)


def _integral(power: float, end: float) -> float:
    """Of cos(x) ** power from 0 to `end`, by Simpson's rule."""
    width = end / _STEPS
    inner = sum((4 if i % 2 else 2) * math.cos(i * width) ** power for i in range(1, _STEPS))
    return (1 + inner + math.cos(end) ** power) * width / 3
