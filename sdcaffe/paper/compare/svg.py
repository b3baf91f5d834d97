"""The small pictures of the comparison page as inline SVG: curves, and how far a value lies from the paper's.

Colours are the page's CSS classes, light and dark; ids are the caller's, so that several pictures share a page.
Written here and not by matplotlib, whose SVG was measured: 67 kB for curves that take 30 here and 2.9 kB for a value's
distance that takes 0.5 (a page has dozens), colours in style attributes that no dark page can change, a style rule
for the whole page in each picture, and half a second for its import.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from sdcaffe.log.curves import Curve, span

_WIDTH, _HEIGHT = 440, 260
_LEFT, _TOP, _BOTTOM = 48, 12, 34
_BARE, _MARKED = 14, 92  # room at the right edge, without and with the marks' names
_POINTS = 400  # of a curve; more are thinned out
_DOTTED = 40  # tests up to which each has a dot
_REACH = 2.0  # percent points to each side of the paper's value


@dataclass
class Mark:
    """A level to hold curves against, named at the right edge."""

    kind: str
    y: float
    text: str


def curves(
    name: str, groups: Sequence[tuple[str, Sequence[Curve]]], marks: Sequence[Mark], label: str, *, right: float
) -> str:
    """Curves over iterations up to `right`, each group's of one CSS class, `label` on the y axis; marks are levels.

    A mean of several runs has a band; groups that were tested once stand side by side. No curve, no picture.
    """
    every = [curve for _, found in groups for curve in found]
    if not every:
        return ""
    side = all(len(curve.x) == 1 for curve in every)
    low, high = span(every, [mark.y for mark in marks])
    frame = _Frame(_WIDTH - (_MARKED if marks else _BARE), len(groups) if side else right or 1.0, low, high)
    parts = [
        f'<svg class="curves" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(label)}">',
        f'<clipPath id="{name}"><rect x="{_LEFT}" y="{_TOP}" width="{frame.edge - _LEFT}" '
        f'height="{_HEIGHT - _TOP - _BOTTOM}"/></clipPath>',
        *frame.axes(iterations=not side),
    ]
    for index, (kind, found) in enumerate(groups):
        for curve in found:
            parts += frame.point(kind, curve, index + 0.5) if side else frame.curve(kind, curve, name)
    return "".join([*parts, *frame.marks(marks), "</svg>"])


@dataclass(frozen=True)
class _Frame:
    """Where values lie between the axes: x from 0 to `right`, y from `low` to `high`; `edge` is the right side."""

    edge: float
    right: float
    low: float
    high: float

    def at(self, x: float, y: float) -> tuple[float, float]:
        up = (y - self.low) / (self.high - self.low)
        across = _LEFT + x / self.right * (self.edge - _LEFT)
        return across, _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM)

    def axes(self, *, iterations: bool) -> Iterator[str]:
        for y in _ticks(self.low, self.high):
            _, level = self.at(0, y)
            yield f'<path class="grid" d="M{_LEFT},{level:.1f}H{self.edge}"/>'
            yield f'<text class="tick" x="{_LEFT - 6}" y="{level + 4:.1f}" text-anchor="end">{y:g}</text>'
        if iterations:
            for x in _ticks(0, self.right, 4):
                place, _ = self.at(x, self.low)
                yield f'<text class="tick" x="{place:.1f}" y="{_HEIGHT - 16}" text-anchor="middle">{_short(x)}</text>'
            middle = (_LEFT + self.edge) / 2
            yield f'<text class="tick" x="{middle}" y="{_HEIGHT - 2}" text-anchor="middle">iteration</text>'

    def curve(self, kind: str, curve: Curve, clip: str) -> Iterator[str]:
        inside = f'clip-path="url(#{clip})"'
        if curve.low:
            band = [*self._points(curve.x, curve.high), *reversed(self._points(curve.x, curve.low))]
            yield f'<polygon class="band {kind}" {inside} points="{" ".join(band)}"/>'
        points = self._points(curve.x, curve.y)
        short = "" if curve.whole else " short"
        yield f'<polyline class="line {kind}{short}" {inside} points="{" ".join(points)}"/>'
        if curve.test and len(curve.x) <= _DOTTED:
            for x, y in zip(curve.x, curve.y, strict=True):
                across, up = self.at(x, y)
                if up >= _TOP:
                    yield f'<circle class="dot {kind}{short}" cx="{across:.1f}" cy="{up:.1f}" r="3"/>'

    def point(self, kind: str, curve: Curve, x: float) -> Iterator[str]:
        across, up = self.at(x, curve.y[0])
        if curve.low:
            (_, low), (_, high) = self.at(x, curve.low[0]), self.at(x, curve.high[0])
            yield f'<path class="line {kind}" d="M{across:.1f},{low:.1f}V{high:.1f}"/>'
        yield f'<circle class="dot {kind}" cx="{across:.1f}" cy="{up:.1f}" r="5"/>'

    def marks(self, marks: Sequence[Mark]) -> Iterator[str]:
        places = _apart([self.at(0, mark.y)[1] for mark in marks])
        for mark, place in zip(marks, places, strict=True):
            _, level = self.at(0, mark.y)
            yield f'<path class="level {mark.kind}" d="M{_LEFT},{level:.1f}H{self.edge}"/>'
            where = f'x="{self.edge + 5}" y="{place + 4:.1f}"'
            yield f'<text class="mark {mark.kind}" {where}>{escape(mark.text)}</text>'

    def _points(self, xs: Sequence[float], ys: Sequence[float]) -> list[str]:
        """Thinned out where they are many, the last one kept."""
        step = math.ceil(len(xs) / _POINTS)
        kept = [*zip(xs, ys, strict=True)]
        kept = kept[::step] + (kept[-1:] if (len(kept) - 1) % step else [])
        return [f"{x:.1f},{y:.1f}" for x, y in (self.at(*point) for point in kept)]


def offset(published: float, seeds: Sequence[float], deviation: float | None, *, result: bool) -> str:
    """Where runs lie beside the published error, in the middle: each run a small dot, their mean a large one.

    A mean beyond what the picture reaches is an arrow at its edge.
    """

    def at(error: float) -> float:
        return 75 + 65 * max(-1.0, min(1.0, (error - published) / _REACH))

    mean = sum(seeds) / len(seeds)
    parts = [f'<svg class="offset" viewBox="0 0 150 18" role="img" aria-label="{mean - published:+.2f} points">']
    parts += [f'<path class="grid" d="M{at(published + x):g},3V15"/>' for x in (-2, -1, 1, 2)]
    parts.append('<path class="paper" d="M75,1V17"/>')
    kind = "mean" if result else "mean other"
    if abs(mean - published) > _REACH:
        tip, side = (146, 139) if mean > published else (4, 11)
        return "".join([*parts, f'<path class="{kind}" d="M{tip},9L{side},4V14Z"/></svg>'])
    if deviation is not None:
        parts.append(f'<path class="spread" d="M{at(mean - deviation):.1f},9H{at(mean + deviation):.1f}"/>')
        parts += [f'<circle class="seed" cx="{at(error):.1f}" cy="9" r="1.8"/>' for error in seeds]
    parts.append(f'<circle class="{kind}" cx="{at(mean):.1f}" cy="9" r="4"/>')
    return "".join([*parts, "</svg>"])


def bars(published: float, measured: float | None, most: float) -> str:
    """Two bars from 0: the paper's gain and, below it, the measured one; `most` is as long as there is room."""

    def bar(kind: str, value: float, y: int) -> str:
        return f'<rect class="{kind}" y="{y}" width="{max(190 * abs(value) / most, 1):.1f}" height="6"/>'

    parts = ['<svg class="bars" viewBox="0 0 200 16" aria-hidden="true">', bar("was", published, 1)]
    if measured is not None:
        parts.append(bar("now" if measured >= 0 else "lost", measured, 9))
    return "".join([*parts, "</svg>"])


def _ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers within a span, about `count` of them."""
    raw = (high - low) / count
    if raw <= 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [float(f"{i * step:.6g}") for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _short(x: float) -> str:
    return f"{x / 1000:g}k" if x >= 1000 else f"{x:g}"


def _apart(places: Sequence[float]) -> list[float]:
    """Heights of labels, moved so that none covers another."""
    moved = list(places)
    order = sorted(range(len(moved)), key=lambda i: moved[i])
    for before, after in itertools.pairwise(order):
        moved[after] = max(moved[after], moved[before] + 13)
    return moved
