"""A comparison with the paper as one HTML page that needs no other file; it measures nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from sdcaffe.paper.compare import measures, svg
from sdcaffe.paper.compare.comparison import CUT_SHORT, MEASURED, Comparison, Group, Row, gains
from sdcaffe.paper.compare.figures import figures
from sdcaffe.paper.compare.intervals import differences
from sdcaffe.paper.compare.runs import TrainingRun
from sdcaffe.paper.compare.text import (
    DIFFERENCE_HEADING,
    OTHER_HEADING,
    difference_cells,
    measured_cells,
    mechanism,
    other_cells,
)
from sdcaffe.paper.published import TITLES

_STYLE = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
_LEGEND = (
    '<p class="small">Last: after the last iteration; ± is the deviation over seeds. Best: the lowest of all tests, '
    "chosen by the test images. In the picture the dark line is the paper's value, each light line a point away. In "
    "brackets: settings that are not the paper's.</p>"
)
_SHORT = {
    "gains": "Gains",
    "curves": "Curves",
    "runs": "Runs",
    "elsewhere": "Not in the paper",
    "differences": "Differences",
    "predictions": "Predictions",
    "others": "Other logs",
}  # what the links say
_HEADINGS = ("network", "data set", "mechanism", "mu", "paper", "last", "best", "difference", "", "seeds", "runs")


def page(found: Comparison) -> str:
    """The whole page."""
    sections = [(f"table{table}", title, _table(found, table)) for table, title in TITLES.items()]
    if found.runs:
        sections[0] = (*sections[0][:2], _LEGEND + sections[0][2])
    sections.insert(0, ("gains", "What self-distillation takes off the error", _gains(found)))
    if curves := figures(found):
        sections.insert(1, ("curves", "The mechanisms in training", curves))
    if found.other_groups:
        lines = [("other", [escape(cell) for cell in other_cells(group)]) for group in found.other_groups]
        grid = _grid(OTHER_HEADING, lines, numbers=range(3, 6))
        sections.append(("elsewhere", "Networks and data that the paper does not have", grid))
    if contrasts := [("result", list(map(escape, difference_cells(each)))) for each in differences(found)]:
        grid = _grid(DIFFERENCE_HEADING, contrasts, numbers=(3, 5, 6))
        sections.append(("differences", "Differences between mechanisms, points of test error", grid))
    if groups := measures.measured(found):
        sections.append(("predictions", "What predictions are worth", _predictions(found, groups)))
    known = [*found.runs, *(run for run in found.others if run.comparable)]
    if known:
        sections.append(("runs", "Runs and their parameters", "".join(map(_run, sorted(known, key=_order)))))
    if unknown := [run for run in found.others if not run.comparable]:
        sections.append(("others", "Logs that were not recognised", _others(unknown)))
    links = "".join(
        f'<a href="#{name}">{escape(_SHORT.get(name, title.partition(":")[0]))}</a>' for name, title, _ in sections
    )
    body = "".join(
        f'<section id="{name}"><h2>{escape(title)}</h2>{content}</section>' for name, title, content in sections
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Self-distillation: the paper and what was measured</title><style>{_STYLE}</style></head><body>"
        "<header><h1>Self-distillation: the paper and what was measured</h1>"
        "<p>Test errors of Xu and Liu, <cite>Data-Distortion Guided Self-Distillation for Deep Neural Networks</cite> "
        "(AAAI 2019), in percent, beside those of training logs.</p>"
        f"{_tiles(found)}</header><nav>{links}</nav><main>{body}</main></body></html>\n"
    )


def _predictions(found: Comparison, groups: Sequence[Group]) -> str:
    """The measures of the last tests, and how mechanisms differ in them."""
    titles = tuple(measure.title for measure in measures.MEASURES)
    lines = [("other", list(map(escape, measures.cells(group)))) for group in groups]
    grid = _grid((*measures.HEADING, *titles), lines, numbers=range(3, 8))
    if said := [("result", list(map(escape, measures.contrast_cells(each)))) for each in measures.contrasts(found)]:
        grid += _grid((*measures.CONTRAST_HEADING, *titles), said, numbers=range(5, 9))
    return grid


def _tiles(found: Comparison) -> str:
    results, cut = sum(run.result for run in found.runs), sum(not run.finished for run in found.runs)
    tiles = (
        (f"{sum(row.result is not None for row in found.rows)} of {len(found.rows)}", "published values measured"),
        (str(results), f"finished run{'' if results == 1 else 's'} of the paper's settings"),
        (str(len(found.runs) - results - cut), "runs of other settings"),
        (str(cut), "runs cut short"),
        (str(len(found.others)), "logs of what the paper does not have"),
    )
    return f'<div class="tiles">{"".join(f"<div><b>{number}</b>{text}</div>" for number, text in tiles)}</div>'


def _table(found: Comparison, table: int) -> str:
    rows = [row for row in found.rows if row.value.table == table]
    return _grid(_HEADINGS, (line for row in rows for line in _lines(row)), numbers=range(3, 8))


def _lines(row: Row) -> Iterable[tuple[str, Sequence[str]]]:
    """A line of cells for each group of a value, each with its CSS class."""
    value = row.value
    errors = f"{value.top1_error:.2f}" + (f" / {value.top5_error:.2f}" if value.top5_error is not None else "")
    head = [escape(text) for text in (value.network, value.data_set, mechanism(row), value.mu_text, errors)]
    if not row.groups:
        yield "unmeasured", [*head, *[""] * (len(_HEADINGS) - len(head))]
    for i, group in enumerate(row.groups):
        last, best, seeds, difference, note = map(escape, measured_cells(row, group))
        result = group.status == MEASURED
        picture = ""
        if group.last:
            ends = [end for run in group.finished if (end := run.last()) is not None]
            picture = svg.offset(value.top1_error, ends, group.last.deviation, result=result)
        cells = [
            *(head if i == 0 else [""] * len(head)),
            last,
            best,
            difference,
            picture,
            seeds,
            _progress(group) + note,
        ]
        yield ("result" if result else "open" if group.status == CUT_SHORT else "other"), cells


def _progress(group: Group) -> str:
    bars = [
        f'<progress value="{run.iterations}" max="{run.max_iter}"></progress> '
        for run in group.unfinished
        if run.max_iter
    ]
    return "".join(bars)


def _grid(headings: Sequence[str], lines: Iterable[tuple[str, Sequence[str]]], numbers: Iterable[int]) -> str:
    """A table; `numbers` are the columns to align right. Cells are HTML."""
    right = set(numbers)

    def cells(tag: str, texts: Sequence[str]) -> str:
        return "".join(f"<{tag}{' class=number' if i in right else ''}>{text}</{tag}>" for i, text in enumerate(texts))

    body = "".join(f'<tr class="{kind}">{cells("td", texts)}</tr>' for kind, texts in lines)
    return (
        f'<div class="wide"><table><thead><tr>{cells("th", headings)}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _gains(found: Comparison) -> str:
    every = gains(found.rows)
    most = max(abs(gain) for g in every for gain in (g.published, g.measured) if gain is not None)
    lines = [
        (
            "unmeasured" if g.measured is None else "result",
            [
                escape(g.network),
                escape(g.data_set),
                f"{g.published:.2f}",
                "" if g.measured is None else f"{g.measured:.2f}",
                svg.bars(g.published, g.measured, most),
            ],
        )
        for g in every
    ]
    legend = (
        "<p class=\"small\">Baseline's error less self-distilled's, in percent points, after the last iteration: "
        '<i class="swatch was"></i> paper, <i class="swatch now"></i> measured.</p>'
    )
    return legend + _grid(("network", "data set", "paper", "measured", ""), lines, numbers=(2, 3))


def _order(run: TrainingRun) -> tuple[object, ...]:
    return run.network, run.data_set, run.mechanism, run.mu or 0, run.seed is None, run.seed or 0


def _run(run: TrainingRun) -> str:
    """One run, folded to a line."""
    seed = "no seed" if run.seed is None else f"seed {run.seed}"
    last = run.last()
    state = f"{last:.2f} %" if run.finished and last is not None else run.progress
    kind = "result" if run.finished and not (run.departures or run.reason) else "other" if run.finished else "open"
    settings = {
        "log": " + ".join(run.logs),
        "iterations": run.progress,
        "training time": _clock(run),
        "random_seed": "none" if run.seed is None else str(run.seed),
        "not the paper's": "; ".join(run.departures) or run.reason,
        **run.settings,
    }
    items = "".join(f"<dt>{escape(n)}</dt><dd>{escape(t)}</dd>" for n, t in settings.items() if t)
    title = escape(f"{run.network}, {run.data_set}, {run.mechanism}" + (f", mu {run.mu:g}" if run.mu else ""))
    return (
        f'<details class="{kind}"><summary><b>{title}</b><span>{seed}</span><span>{escape(state)}</span></summary>'
        f"<dl>{items}</dl></details>"
    )


def _clock(run: TrainingRun) -> str:
    seconds = max((rows[-1].seconds for rows in (run.log.train, run.log.test) if rows), default=0.0)
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if seconds >= 60 else f"{seconds:.0f} s"


def _others(runs: Sequence[TrainingRun]) -> str:
    lines = []
    for run in runs:
        last = run.last()
        cells = (" + ".join(run.logs), run.log.net, run.reason, run.progress, "" if last is None else f"{last:.2f}")
        lines.append(("other", [escape(cell) for cell in cells]))
    return _grid(("log", "net", "why", "iterations", "last test error"), lines, numbers=(4,))
