"""Training curves of one or more runs: loss, test error and learning rate, as PNG, SVG or PDF."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from sdcaffe.errors import DataError
from sdcaffe.log import Run, TestRow, TrainRow, accuracy
from sdcaffe.terminal import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ENDINGS = ("png", "svg", "pdf")

# Okabe and Ito's colours, which the colour-blind tell apart, less the yellow; further runs are dashed.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_DASHES = ("-", "--", ":", "-.")
_WIDTH, _HEIGHT, _LEGEND_LINE = 9.0, 3.0, 0.25  # inches: of all, of a panel, of one run in the legend
_FOOT = 0.02  # of a panel's height below 0, so that a line at 0 is seen
_MARKED = 40  # tests up to which each has a dot

Place = Callable[[TrainRow | TestRow], float]


@dataclass
class Curve:
    """Points of one run in one panel; `test` curves stand out from those of training."""

    x: list[float] = field(default_factory=list)
    y: list[float] = field(default_factory=list)
    test: bool = False
    net: int = 0

    def add(self, x: float, y: float) -> None:
        if math.isfinite(y):
            self.x.append(x)
            self.y.append(y)


def plot(runs: Sequence[tuple[str, Run]], ending: str, *, seconds: bool = False) -> bytes:
    """The picture of runs, each with the name it has in the legend, as a file of type `ending`, one of ENDINGS.

    Panels, from the top: loss in training and tests, test error in percent, learning rate; one without data is
    left out. They share one axis: iterations, or with `seconds` the time since training began. Raises DataError
    where no run has any numbers.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    def place(row: TrainRow | TestRow) -> float:
        return row.seconds if seconds else row.iteration

    panels = []
    for gather, dress, share in _PANELS:
        curves = [gather(run, place) for _, run in runs]
        if any(curve.x for run_curves in curves for curve in run_curves):
            panels.append((dress, curves, share))
    if not panels:
        raise DataError("no log holds a loss, an accuracy or a learning rate to plot")
    height = 0.5 + _LEGEND_LINE * len(runs) + _HEIGHT * sum(share for _, _, share in panels)
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    grid = figure.add_gridspec(len(panels), 1, height_ratios=[share for _, _, share in panels])
    first: Axes | None = None
    for i, (dress, curves, _) in enumerate(panels):
        axes = figure.add_subplot(grid[i], sharex=first)
        first = first or axes
        for k, run_curves in enumerate(curves):
            for curve in run_curves:
                _draw(axes, curve, k, len(runs), steps=dress is _dress_rate)
        dress(axes, [curve for run_curves in curves for curve in run_curves])
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelbottom=i + 1 == len(panels))
    axes.set_xlabel("seconds of training" if seconds else "iteration")
    handles = [Line2D([], [], linewidth=2.5, **_style(k)) for k in range(len(runs))]
    words = [_label(name, run) for name, run in runs]
    legend(figure, handles, words, loc="outside upper left", frameon=False, fontsize=10)
    file = io.BytesIO()
    figure.savefig(file, format=ending, dpi=130)
    return file.getvalue()


def legend(holder: Any, handles: Sequence[Any], words: Sequence[str], **how: Any) -> None:
    """A legend of a figure or axes whose entries are `words` as they are: no formula, no name that is left out."""
    made = holder.legend(handles, ["?"] * len(handles), **how)
    for text, line in zip(made.get_texts(), words, strict=True):
        text.set_parse_math(False)
        text.set_usetex(False)
        text.set_text(shown(line).replace("\n", "\\n").replace("\t", "\\t"))


def short_names(paths: Sequence[str]) -> list[str]:
    """Of each path as many of its last parts as tell it from the others."""
    parts = [PurePath(path).parts for path in paths]

    def tails(count: int) -> list[str]:
        return [str(PurePath(*part[-count:])) for part in parts]

    longest = max((len(part) for part in parts), default=1)
    return next((found for n in range(1, longest) if len(set(found := tails(n))) == len(found)), tails(longest))


def losses(run: Run, place: Place) -> list[Curve]:
    """The smoothed training loss, and the loss of each test net."""
    train = Curve()
    for row in run.train:
        train.add(place(row), row.loss)
    return [train, *_of_tests(run, place, _test_loss)]


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
        curve.add(place(row), row.lr)
    if curve.y:
        curve.add(place(run.train[-1]), curve.y[-1])
    return [curve]


def _of_tests(run: Run, place: Place, value: Callable[[TestRow], float]) -> list[Curve]:
    nets = sorted({row.net for row in run.test})
    curves = {net: Curve(test=True, net=net) for net in nets}
    for row in run.test:
        curves[row.net].add(place(row), value(row))
    return list(curves.values())


def _test_loss(row: TestRow) -> float:
    """The total loss where it is logged, else the output called loss, else the first whose name says so."""
    if math.isfinite(row.loss):
        return row.loss
    names = [name for name in row.outputs if "loss" in name.lower()]
    return row.outputs["loss" if "loss" in names else names[0]] if names else math.nan


def _draw(axes: Axes, curve: Curve, index: int, runs: int, *, steps: bool) -> None:
    style = _style(index)
    if curve.net:  # another test net of the same run
        style["linestyle"] = _DASHES[curve.net % len(_DASHES)]
    if steps:
        width = 1.5 + 2.5 * (runs - 1 - index) / runs  # rates are often the same: one shows beside the other
    else:
        width = 2.0 if curve.test else 1.0
    axes.plot(
        curve.x,
        curve.y,
        linewidth=width,
        alpha=1.0 if curve.test or steps else 0.65,
        marker="o" if curve.test and len(curve.x) <= _MARKED else "",
        markersize=4,
        drawstyle="steps-post" if steps else "default",
        **style,
    )


def _style(index: int) -> dict[str, Any]:
    return {"color": COLORS[index % len(COLORS)], "linestyle": _DASHES[index // len(COLORS) % len(_DASHES)]}


def _label(name: str, run: Run) -> str:
    error = run.test_error()
    return name if error is None else f"{name}: test error {error:.2f} %"


def _dress_loss(axes: Axes, curves: Sequence[Curve]) -> None:
    """The scale leaves out tests before training: an untrained BatchNorm net gives 87."""
    from matplotlib.lines import Line2D

    axes.set_ylabel("loss")
    seen = [y for curve in curves for x, y in zip(curve.x, curve.y, strict=True) if x > 0 or not curve.test]
    if seen and max(seen) > 0:
        axes.set_ylim(min(-_FOOT * max(seen), *seen), 1.08 * max(seen))
    if any(curve.test and curve.x for curve in curves) and any(not curve.test and curve.x for curve in curves):
        kinds = [
            Line2D([], [], color="#555555", linewidth=1.0, alpha=0.65, label="training"),
            Line2D([], [], color="#555555", linewidth=2.0, marker="o", markersize=4, label="test"),
        ]
        axes.legend(handles=kinds, loc="upper right", frameon=False, fontsize=9)


def _dress_error(axes: Axes, curves: Sequence[Curve]) -> None:
    axes.set_ylabel("test error, %")
    axes.set_ylim(bottom=-_FOOT * axes.get_ylim()[1])


def _dress_rate(axes: Axes, curves: Sequence[Curve]) -> None:
    axes.set_ylabel("learning rate")
    if all(y > 0 for curve in curves for y in curve.y):
        axes.set_yscale("log")


_PANELS = ((losses, _dress_loss, 1.3), (errors, _dress_error, 1.3), (rates, _dress_rate, 0.7))  # and part of the height
