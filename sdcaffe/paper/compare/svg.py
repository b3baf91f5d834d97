"""The small pictures of the comparison page as inline SVG: curves, and how far a value lies from the paper's.

Colours are the page's CSS classes, light and dark; ids are the caller's, so that several pictures share a page.
Written here and not by matplotlib, whose SVG was measured: 67 kB for curves that take 30 here and 2.9 kB for a value's
distance that takes 0.5 (a page has dozens), colours in style attributes that no dark page can change, a style rule
for the whole page in each picture, and half a second for its import.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 560, 300
_LEFT, _TOP, _BOTTOM = 40, 12, 34
_BARE, _MARKED = 14, 74  # room at the right edge, without and with the marks' names
_POINTS = 400  # of a curve; more are thinned out
_EARLY = 0.15  # of a run; before that curves may leave the picture at its top
_REACH = 2.0  # percent points to each side of the paper's value


@dataclass
class Line:
    """One curve: `kind` is a CSS class, `whole` says whether the run was finished."""

    kind: str
    x: Sequence[float]
    y: Sequence[float]
    whole: bool = True


@dataclass
class Mark:
    """A level to hold curves against, named at the right edge."""

    kind: str
    y: float
    text: str


def curves(name: str, lines: Sequence[Line], marks: Sequence[Mark], label: str) -> str:
    """Curves over iterations, `label` on the y axis; marks as dotted levels. No curve, no picture."""
    lines = [line for line in lines if line.x]
    if not lines:
        return ""
    right = max(line.x[-1] for line in lines)
    low, high = _span(lines, marks, right)
    edge = _WIDTH - (_MARKED if marks else _BARE)

    def at(x: float, y: float) -> tuple[float, float]:
        across = (x / right) if right else 0.0
        up = (y - low) / (high - low)
        return _LEFT + across * (edge - _LEFT), _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM)

    parts = [
        f'<svg class="curves" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(label)}">',
        f'<clipPath id="{name}"><rect x="{_LEFT}" y="{_TOP}" width="{edge - _LEFT}" '
        f'height="{_HEIGHT - _TOP - _BOTTOM}"/></clipPath>',
    ]
    for y in _ticks(low, high):
        _, level = at(0, y)
        parts.append(f'<path class="grid" d="M{_LEFT},{level:.1f}H{edge}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 6}" y="{level + 4:.1f}" text-anchor="end">{y:g}</text>')
    for x in _ticks(0, right, 4):
        place, _ = at(x, low)
        parts.append(f'<text class="tick" x="{place:.1f}" y="{_HEIGHT - 16}" text-anchor="middle">{_short(x)}</text>')
    parts.append(f'<text class="tick" x="{(_LEFT + edge) / 2}" y="{_HEIGHT - 2}" text-anchor="middle">iteration</text>')
    for line in lines:
        step = math.ceil(len(line.x) / _POINTS)
        kept = [*zip(line.x, line.y, strict=True)]
        points = kept[::step] + (kept[-1:] if (len(kept) - 1) % step else [])
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*point) for point in points))
        dash = "" if line.whole else ' stroke-dasharray="5 4"'
        parts.append(f'<polyline class="line {line.kind}" clip-path="url(#{name})" points="{path}"{dash}/>')
    places = _apart([at(0, mark.y)[1] for mark in marks])
    for mark, place in zip(marks, places, strict=True):
        _, level = at(0, mark.y)
        parts.append(f'<path class="level {mark.kind}" d="M{_LEFT},{level:.1f}H{edge}"/>')
        parts.append(f'<text class="mark {mark.kind}" x="{edge + 5}" y="{place + 4:.1f}">{escape(mark.text)}</text>')
    return "".join([*parts, "</svg>"])


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


def _span(lines: Sequence[Line], marks: Sequence[Mark], right: float) -> tuple[float, float]:
    """The y axis: all of the later part of every curve."""
    late = [y for line in lines for x, y in zip(line.x, line.y, strict=True) if x >= _EARLY * right]
    seen = [*late, *(mark.y for mark in marks)] or [y for line in lines for y in line.y]
    low, high = min(seen), max(seen)
    room = 0.06 * (high - low) or 1.0
    return max(0.0, low - room), high + room


def _ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers within a span, about `count` of them."""
    raw = (high - low) / count
    if raw <= 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
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
