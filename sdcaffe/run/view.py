"""What a terminal shows of a run: its numbers in lines that fit, those that matter first. Draws nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sdcaffe.log import accuracy

GAP = "  "
_BAR = (8, 40)  # columns of the bar, at least and at most
_NAME = 0.4  # of a line that the name of a run may take
_DONE, _LEFT = "━", "─"

Row = list[str]


@dataclass
class View:
    """A run as it is now. What is None or empty is not known, and not shown.

    `terms` are the losses that no labels go into, such as those of KLLoss and MMDLoss, `outputs` the net's other
    numbers, `scores` those of its first test net, `best` the highest accuracy so far; `rate` is in iterations a second,
    `left` and `elapsed` in seconds.
    """

    iteration: int
    max_iter: int
    loss: float
    lr: float
    images: int
    epoch: float | None = None
    terms: Mapping[str, float] = field(default_factory=dict)
    outputs: Mapping[str, float] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    best: float | None = None
    rate: float | None = None
    left: float | None = None
    elapsed: float | None = None


def lines(view: View, name: str, width: int, rows: int) -> list[str]:
    """Lines of `width` columns. None of the numbers that matter is cut, unless these take more than `rows` lines.

    A bar, and numbers that matter less, fill what room there is.
    """
    head = [shortened(name, int(width * _NAME))] if name else []
    iteration = f"iteration {view.iteration}/{view.max_iter}"
    place = [*head, iteration, *_known("epoch {:.1f}", view.epoch)]
    pace = [*_known("{:.0f} images/s", view.rate and view.rate * view.images), *_time(view.left, "left")]
    losses = [f"loss {view.loss:.4g}", *_numbers(view.terms), *_score(view), f"lr {view.lr:g}"]
    first, second = _rows([*place, *pace], width), _rows(losses, width)
    if len(first) + len(second) > rows:
        return [GAP.join(row) for row in _rows([*place, *losses, *pace[::-1]], width)[:rows]]
    _draw_bar(next(row for row in first if iteration in row), iteration, view, width)
    _fill(first[-1], [*_known("{:.3g} iterations/s", view.rate), *_time(view.elapsed, "so far")], width)
    _fill(second[-1], _less(view), width)
    return [GAP.join(row) for row in [*first, *second]]


def shortened(name: str, width: int) -> str:
    """A name that fits: of a long one the end, which tells runs apart."""
    return name if len(name) <= width else f"...{name[len(name) - max(width - 3, 1) :]}"


def clock_time(seconds: float) -> str:
    """`1:02:03`"""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}"


def _known(form: str, value: float | None) -> Row:
    return [] if value is None else [form.format(value)]


def _time(seconds: float | None, what: str) -> Row:
    return [] if seconds is None else [f"{clock_time(seconds)} {what}"]


def _numbers(values: Mapping[str, float]) -> Row:
    return [f"{name} {value:.4g}" for name, value in values.items()]


def _score(view: View) -> Row:
    """What the last test says first: the accuracy, else its first number."""
    tested = accuracy(view.scores)
    if tested is not None:
        return [f"test accuracy {tested:.2%}"]
    return [f"test {text}" for text in _numbers(view.scores)[:1]]


def _less(view: View) -> Row:
    others = {name: value for name, value in view.scores.items() if accuracy({name: value}) is None}
    tested = [f"test {text}" for text in _numbers(others) if f"test {text}" not in _score(view)]
    return [*_known("best {:.2%}", view.best), *_numbers(view.outputs), *tested]


def _rows(parts: Sequence[str], width: int) -> list[Row]:
    """The parts in as few rows as they take, none of them broken but one that is wider than a row."""
    found: list[Row] = [[]]
    for part in parts:
        if found[-1] and not _fits(found[-1], part, width):
            found.append([])
        found[-1].append(part[:width])
    return found


def _fits(row: Row, part: str, width: int) -> bool:
    return len(GAP.join([*row, part])) <= width


def _fill(row: Row, parts: Sequence[str], width: int) -> None:
    """Add those of the parts that fit, in their order."""
    for part in parts:
        if _fits(row, part, width):
            row.append(part)


def _draw_bar(row: Row, behind: str, view: View, width: int) -> None:
    least, most = _BAR
    room = min(width - len(GAP.join([*row, ""])), most)
    if room >= least:
        done = min(room, room * view.iteration // max(view.max_iter, 1))
        row.insert(row.index(behind) + 1, _DONE * done + _LEFT * (room - done))
