"""The page's pictures of training: one for each set of runs that differ by the mechanism alone."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from sdcaffe.log.curves import PANELS, Curve, Panel
from sdcaffe.paper.compare import svg
from sdcaffe.paper.compare.comparison import Comparison, Group
from sdcaffe.paper.compare.curves import DIVERGENCES
from sdcaffe.paper.compare.sets import every_group, names, sets

_TRAINING, _TEST, _ERROR, _ = PANELS
_SHOWN = (_ERROR, _TRAINING, _TEST, *DIVERGENCES)
_COLORS = 7  # the classes c0 to c6 of page.css; further mechanisms are dashed
_NOTE = (
    '<p class="small">A line is the mean over seeds, its band the deviation; a pale line is a run that was cut short. '
    "Training losses are each mechanism's own sum: self-distillation's has two cross-entropies and more, so only their "
    "course compares.</p>"
)


def figures(found: Comparison) -> str:
    """A picture of every set of two or more mechanisms, or of one that the paper has a value of; "" without any."""
    groups = [group for group in every_group(found) if any(run.errors() for run in group.runs)]
    parts: list[str] = []
    for one in sets(groups):
        marks = _marks(found, one)
        if len(one) > 1 or marks:
            parts.append(_figure(f"set{len(parts)}", one, marks))
    return _NOTE + "".join(parts) if parts else ""


def _figure(name: str, groups: Sequence[Group], marks: Sequence[svg.Mark]) -> str:
    kinds = [f"c{i % _COLORS}" + (" more" if i >= _COLORS else "") for i in range(len(groups))]
    panels: list[tuple[Panel, list[tuple[str, list[Curve]]]]] = []
    for panel in _SHOWN:
        lines = [panel.curves([run.log for run in group.runs], lambda row: row.iteration) for group in groups]
        panels.append((panel, [*zip(kinds, lines, strict=True)]))
    right = max(curve.x[-1] for _, found in panels for _, lines in found for curve in lines)
    pictures = ""
    for i, (panel, found) in enumerate(panels):
        levels = marks if panel is _ERROR else ()
        if picture := svg.curves(f"{name}-{i}", found, levels, panel.title, right=right):
            pictures += f"<figure><figcaption>{escape(panel.title)}</figcaption>{picture}</figure>"
    keys = "".join(
        f'<span><i class="swatch {kind}"></i>{escape(called)}: {escape(_end(group))}</span>'
        for kind, called, group in zip(kinds, names(groups), groups, strict=True)
    )
    run = groups[0].runs[0]
    title = ", ".join(filter(None, (run.network, run.data_set, groups[0].trained_on)))
    return f'<h3>{escape(title)}</h3><p class="keys">{keys}</p><div class="pair">{pictures}</div>'


def _marks(found: Comparison, groups: Sequence[Group]) -> list[svg.Mark]:
    """The paper's error of each mechanism, in its colour."""
    marks = []
    for i, group in enumerate(groups):
        value = next((row.value for row in found.rows if any(group is other for other in row.groups)), None)
        if value is not None:
            marks.append(svg.Mark(f"c{i % _COLORS}", value.top1_error, f"paper {value.top1_error:.2f}"))
    return marks


def _end(group: Group) -> str:
    """What its runs ended with, or how far the first one came."""
    if group.last is None:
        return group.runs[0].progress
    count = len(group.finished)
    other = "" if not group.departures else ", settings not the paper's"
    return f"{group.last} %, {count} seed{'' if count == 1 else 's'}{other}"
