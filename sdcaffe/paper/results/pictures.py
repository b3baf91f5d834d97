"""The pictures of the pages as SVG, from the logs in reference_logs: the same text wherever they are made."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from html import escape

from sdcaffe.log.picture import COLORS
from sdcaffe.paper.compare import Group
from sdcaffe.paper.compare.measures import MEASURES
from sdcaffe.paper.results.runs import by_recipe, groups, recipes
from sdcaffe.paper.results.tables import QUICKSTART, STUDY

_STYLE = (
    "text{font:12px Helvetica,Arial,sans-serif;fill:#1c2330}.soft{fill:#5d6675}.grid{stroke:#dde2ea;fill:none}"
    ".mean{stroke:#1c2330;stroke-width:2}.line{fill:none;stroke-width:2}"
)
_NAMES, _PANEL, _GAP, _ROW, _TOP = 270, 150, 24, 26, 44


def pictures() -> dict[str, str]:
    """Every picture by its path."""
    return {"docs/pictures/study.svg": study(), "docs/pictures/quickstart.svg": quickstart()}


def study() -> str:
    """A panel for each measure: each finished run of an arm a dot, their mean a line."""
    found = by_recipe(groups(f"runs/{STUDY}", "bf16"), STUDY)
    arms = recipes(STUDY)
    parts = []
    for row, recipe in enumerate(arms):
        y = _TOP + _ROW * (row + 0.5)
        parts.append(
            f'<text x="{_NAMES - 12}" y="{y + 4:.1f}" text-anchor="end">{escape(recipe.mechanism.title)}</text>'
        )
    for column, measure in enumerate(MEASURES):
        left = _NAMES + column * (_PANEL + _GAP)
        values = {name: [value for _, value in measure.of(group)] for name, group in found.items()}
        every = [value for each in values.values() for value in each]
        if not every:
            continue
        low, high = _span(every)
        parts.append(f'<text x="{left}" y="16">{escape(measure.title)}</text>')
        for end, value in (("start", low), ("end", high)):
            x = left if end == "start" else left + _PANEL
            parts.append(f'<text class="soft" x="{x}" y="34" text-anchor="{end}">{value:.{measure.digits}f}</text>')
        for row, recipe in enumerate(arms):
            y = _TOP + _ROW * (row + 0.5)
            parts.append(f'<path class="grid" d="M{left},{y:.1f}h{_PANEL}"/>')
            parts += _dots(values.get(recipe.mechanism.file, []), left, low, high, y, COLORS[row % len(COLORS)])
    width, height = _NAMES + len(MEASURES) * (_PANEL + _GAP), _TOP + _ROW * len(arms) + 10
    return _document(width, height, "The second study: each run and the mean of each arm", parts)


def _dots(values: Sequence[float], left: float, low: float, high: float, y: float, color: str) -> list[str]:
    if not values:
        return []

    def at(value: float) -> float:
        return left + _PANEL * (value - low) / (high - low)

    mean = at(statistics.fmean(values))
    dots = [f'<circle cx="{at(value):.1f}" cy="{y:.1f}" r="4" fill="{color}" opacity=".55"/>' for value in values]
    return [*dots, f'<path class="mean" d="M{mean:.1f},{y - 9:.1f}v18"/>']


def quickstart() -> str:
    """The test error of each arm by iteration, the mean over its seeds."""
    found = by_recipe(groups(f"runs/{QUICKSTART}", "fp32"), QUICKSTART)
    curves = {group.title: _mean_errors(group) for group in found.values()}
    left, top, wide, high = 50, 16, 520, 250
    last = max(x for curve in curves.values() for x, _ in curve)
    low, most = 0.0, max(y for curve in curves.values() for _, y in curve)
    most = 10 * (int(most / 10) + 1)

    def at(x: float, y: float) -> tuple[float, float]:
        return left + wide * x / last, top + high * (1 - (y - low) / (most - low))

    parts = []
    for level in range(0, most + 1, 20 if most > 50 else 10):
        _, y = at(0, level)
        parts.append(f'<path class="grid" d="M{left},{y:.1f}h{wide}"/>')
        parts.append(f'<text class="soft" x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{level} %</text>')
    for x in sorted({x for curve in curves.values() for x, _ in curve}):
        place, _ = at(x, 0)
        parts.append(f'<text class="soft" x="{place:.1f}" y="{top + high + 18}" text-anchor="middle">{x}</text>')
    parts.append(
        f'<text class="soft" x="{left + wide / 2}" y="{top + high + 36}" text-anchor="middle">iteration</text>'
    )
    for i, (title, curve) in enumerate(curves.items()):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*point) for point in curve))
        parts.append(f'<polyline class="line" stroke="{COLORS[i]}" points="{path}"/>')
        parts.append(f'<path class="line" stroke="{COLORS[i]}" d="M{left + wide + 16},{top + 12 + 22 * i}h22"/>')
        parts.append(f'<text x="{left + wide + 44}" y="{top + 16 + 22 * i}">{escape(title)}</text>')
    return _document(left + wide + 170, top + high + 46, "Test error of the quickstart, mean over seeds", parts)


def _mean_errors(group: Group) -> list[tuple[int, float]]:
    """Iteration and mean test error, of the tests that every run has."""
    runs = [dict(run.errors()) for run in group.finished]
    shared = sorted(set.intersection(*(set(run) for run in runs)))
    return [(iteration, statistics.fmean(run[iteration] for run in runs)) for iteration in shared]


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
    return low - room, high + room


def _document(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" role="img">'
    ground = '<rect width="100%" height="100%" fill="white"/>'
    return "\n".join(
        [head, f"<title>{escape(title)}</title>", f"<style>{_STYLE}</style>", ground, *parts, "</svg>", ""]
    )
