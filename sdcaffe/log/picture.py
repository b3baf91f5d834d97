"""Curves of logs as a picture: PNG, SVG or PDF, by matplotlib."""

from __future__ import annotations

import io
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sdcaffe.errors import DataError
from sdcaffe.log.curves import PANELS, Curve, Panel, span
from sdcaffe.log.rows import FINISHED, Run, TestRow, TrainRow
from sdcaffe.terminal import shown

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ENDINGS = ("png", "svg", "pdf")

# Okabe and Ito's colours, which the colour-blind tell apart, less the yellow; further ones are dashed.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_DASHES = ("-", "--", ":", "-.")
_WIDTH, _HEIGHT, _LEGEND_LINE = 5.5, 3.0, 0.25  # inches: of a panel, and of a line in the legend
_FONT, _HANDLE = 10, 0.6  # of the legend: points, and the inches that a line takes beside its words
_MARKED = 40  # tests up to which each has a dot
_BAND = 0.18  # how much of its colour a band has

Named = Sequence[tuple[str, Sequence[Run]]]


def plot(
    groups: Named, ending: str, *, title: str = "", panels: Sequence[Panel] = PANELS, seconds: bool = False
) -> bytes:
    """The picture of groups of runs, each with its name in the legend, as a file of type `ending`, one of ENDINGS.

    Of several runs in a group their mean is drawn, in a band of the deviation. A panel without data is left out. The
    panels' axis is iterations, or with `seconds` the time since training began; where every curve is one point, as of
    runs that were tested once, the points stand side by side. Raises DataError where no run has any numbers.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    def place(row: TrainRow | TestRow) -> float:
        return row.seconds if seconds else row.iteration

    gathered = [(panel, [panel.curves(runs, place) for _, runs in groups]) for panel in panels]
    filled = [(panel, curves) for panel, curves in gathered if any(curves)]
    if not filled:
        raise DataError("no log holds a loss, an accuracy or a learning rate to plot")
    right = max(curve.x[-1] for _, of_groups in filled for curves in of_groups for curve in curves) or 1
    columns = 1 if len(filled) <= 2 else 2
    rows = -(-len(filled) // columns)
    words = [_label(name, runs) for name, runs in groups]
    longest = _longest([*words, title])
    beside = columns if longest <= _WIDTH else 1
    height = 0.3 + _LEGEND_LINE * (-(-len(words) // beside) + bool(title)) + _HEIGHT * rows
    width = max(_WIDTH * columns * (1.4 if columns == 1 else 1), longest)
    figure = Figure(figsize=(width, height), layout="constrained")
    for i, (panel, curves) in enumerate(filled):
        axes = figure.add_subplot(rows, columns, i + 1)
        _draw_panel(axes, panel, curves)
        if not _side_by_side(curves):
            axes.set_xlim(-0.02 * right, 1.02 * right)
            axes.set_xlabel("seconds of training" if seconds else "iteration")
    handles = [Line2D([], [], linewidth=2.5, **_style(k)) for k in range(len(groups))]
    where: dict[str, Any] = {"loc": "outside upper left", "alignment": "left", "frameon": False}
    legend(figure, handles, words, title, **where, fontsize=_FONT, ncols=beside)
    file = io.BytesIO()
    figure.savefig(file, format=ending, dpi=130)
    return file.getvalue()


def _longest(words: Sequence[str]) -> float:
    """Inches that the longest entry of a legend takes."""
    from matplotlib.figure import Figure

    scratch = Figure()
    shown = [scratch.text(0, 0, one_line(line), fontsize=_FONT, parse_math=False, usetex=False) for line in words]
    return _HANDLE + max(text.get_window_extent().width for text in shown) / scratch.dpi


def legend(holder: Figure | Axes, handles: Sequence[Artist], words: Sequence[str], title: str = "", **how: Any) -> None:
    """A legend of a figure or axes whose entries are `words` as they are: no formula, no name that is left out."""
    made = holder.legend(handles, ["?"] * len(handles), title="?" if title else None, **how)
    texts = [*zip(made.get_texts(), words, strict=True), *([(made.get_title(), title)] if title else [])]
    for text, line in texts:
        text.set_parse_math(False)
        text.set_usetex(False)
        text.set_text(one_line(line))


def one_line(text: str) -> str:
    """`text` as a picture shows it: on one line, its control characters by number."""
    return shown(text).replace("\n", "\\n").replace("\t", "\\t")


def _side_by_side(groups: Sequence[Sequence[Curve]]) -> bool:
    return all(len(curve.x) == 1 for curves in groups for curve in curves) and sum(map(bool, groups)) > 1


def _draw_panel(axes: Axes, panel: Panel, groups: Sequence[Sequence[Curve]]) -> None:
    every = [curve for curves in groups for curve in curves]
    side = _side_by_side(groups)
    for k, curves in enumerate(groups):
        for curve in curves:
            if side:
                _draw_point(axes, curve, k)
            else:
                _draw(axes, curve, k, len(groups), steps=panel.steps)
    axes.set_ylabel(panel.title)
    if panel.steps and all(y > 0 for curve in every for y in curve.y):
        axes.set_yscale("log")
    elif not panel.steps:
        axes.set_ylim(*span(every))
    if side:
        axes.set_xticks([])
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _draw(axes: Axes, curve: Curve, index: int, groups: int, *, steps: bool) -> None:
    style = _style(index)
    if curve.net:  # another test net of the same run
        style["linestyle"] = _DASHES[curve.net % len(_DASHES)]
    if steps:
        width = 1.5 + 2.5 * (groups - 1 - index) / groups  # rates are often the same: one shows beside the other
    else:
        width = 2.0 if curve.test else 1.0
    axes.plot(
        curve.x,
        curve.y,
        linewidth=width,
        alpha=1.0 if curve.whole and (curve.test or steps) else 0.65,
        marker="o" if curve.test and len(curve.x) <= _MARKED else "",
        markersize=4,
        drawstyle="steps-post" if steps else "default",
        **style,
    )
    if curve.low and not steps:
        axes.fill_between(curve.x, curve.low, curve.high, color=style["color"], alpha=_BAND, linewidth=0)


def _draw_point(axes: Axes, curve: Curve, index: int) -> None:
    reach = [[abs(curve.high[0] - curve.y[0])]] * 2 if curve.high else None
    color = _style(index)["color"]
    face = "white" if index >= len(COLORS) else color
    axes.errorbar([index], curve.y, yerr=reach, fmt="o", color=color, capsize=4, markerfacecolor=face)


def _style(index: int) -> dict[str, Any]:
    return {"color": COLORS[index % len(COLORS)], "linestyle": _DASHES[index // len(COLORS) % len(_DASHES)]}


def _label(name: str, runs: Sequence[Run]) -> str:
    """The name and the test error that whole runs ended with; where none is whole, how far the first one came."""
    whole = [run for run in runs if run.end == FINISHED]
    parts = [f"{len(whole)} runs"] if len(whole) > 1 else []
    if len(runs) > len(whole) and runs[0].train:
        parts.append(f"{len(runs) - len(whole)} cut short" if len(runs) > 1 else "cut short")
    errors = [error for run in whole or runs[:1] if (error := run.test_error()) is not None]
    if errors:
        deviation = f" ± {statistics.stdev(errors):.2f}" if len(errors) > 1 else ""
        name += f": test error {statistics.fmean(errors):.2f}{deviation} %"
    if errors and runs[0].train and not whole:
        name += f" at iteration {runs[0].test[-1].iteration:,}"
    return f"{name} ({', '.join(parts)})" if parts else name
