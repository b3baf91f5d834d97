"""Tables for a manuscript, as LaTeX and as Markdown: one for runs that are alike but for the mechanism, a row each."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sdcaffe.errors import DataError
from sdcaffe.paper.compare.comparison import Comparison, Group, Spread
from sdcaffe.paper.compare.measures import MEASURES
from sdcaffe.paper.compare.sets import every_group, names, sets
from sdcaffe.terminal import shown

_LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", "±": r"$\pm$", **{sign: f"\\{sign}" for sign in "#$%&_{}"},
}  # fmt: skip
_HEADING = 15  # letters of a heading's line
_MARKDOWN = {sign: f"\\{sign}" for sign in "\\`*_{}[]<>#|$~"}


@dataclass(frozen=True)
class Column:
    """Its heading, a text for each row, and the rows whose mean is the best."""

    title: str
    cells: list[str]
    best: list[bool]


@dataclass(frozen=True)
class Table:
    """The rows' mechanisms, the columns beside them, and what is said of them all."""

    caption: str
    mechanisms: list[str]
    columns: list[Column]


def tables(found: Comparison) -> list[Table]:
    """A table of each set of finished runs; raises DataError where there are none."""
    groups = [group for group in every_group(found) if group.finished]
    if not groups:
        raise DataError("no log is of a finished run of a mechanism known here, so there is no table to write")
    return [_table(found, group) for group in sets(groups)]


def to_latex(found: Comparison) -> str:
    """The tables as floats, labelled tab:runs-1 and so on, for a document that uses booktabs and graphicx."""
    head = "% Written by sdcaffe compare. Needs \\usepackage{booktabs,graphicx}.\n"
    return head + "".join(f"\n{_latex(table, i)}" for i, table in enumerate(tables(found), start=1))


def to_markdown(found: Comparison) -> str:
    """The tables, each with its caption above it."""
    return "\n".join(map(_markdown, tables(found)))


def _table(found: Comparison, groups: Sequence[Group]) -> Table:
    mechanisms = names(groups)
    columns = [
        _published(found, groups),
        _measured("test error, %", groups, lambda group: group.last, str),
        _measured("top-5 error, %", groups, lambda group: group.last_top5, str),
        *(_measured(m.title, groups, m.spread, m.show) for m in MEASURES if m.output != "error"),
    ]
    return Table(_caption(groups, mechanisms), mechanisms, [column for column in columns if any(column.cells)])


def _published(found: Comparison, groups: Sequence[Group]) -> Column:
    """The paper's error for each group that measures one."""
    cells = []
    for group in groups:
        values = (row.value.top1_error for row in found.rows if any(group is other for other in row.groups))
        cells.append(next((f"{value:.2f}" for value in values), ""))
    return Column("paper", cells, [False] * len(cells))


def _measured(
    title: str,
    groups: Sequence[Group],
    of: Callable[[Group], Spread | None],
    show: Callable[[Spread | None], str],
) -> Column:
    """What runs ended with; the lowest mean, as it is shown, is the best of two or more."""
    spreads = [of(group) for group in groups]
    means = {i: show(Spread(spread.mean, None)) for i, spread in enumerate(spreads) if spread}
    lowest = min(means.values(), key=float, default="")
    best = [len(means) > 1 and means.get(i) == lowest for i in range(len(groups))]
    return Column(title, [show(spread) if spread else "" for spread in spreads], best)


def _caption(groups: Sequence[Group], mechanisms: Sequence[str]) -> str:
    """Network, data, iterations, seeds, and what departs from the paper's settings."""
    run = groups[0].runs[0]
    parts = [f"{run.network} on {run.data_set}, after the last of {run.max_iter:,} iterations"]
    parts += [groups[0].trained_on] if groups[0].trained_on else []
    repeated = any(len(group.finished) > 1 for group in groups)
    text = ", ".join(parts) + (": mean ± sample deviation over seeds" if repeated else "")
    text += "; the lowest mean of a column is bold. " if len(groups) > 1 else ". "
    seeds = [_seeds(group) for group in groups]
    usual = max(seeds, key=seeds.count)
    others = "".join(f"; {name}: {own}" for name, own in zip(mechanisms, seeds, strict=True) if own != usual)
    text += f"{usual[0].upper()}{usual[1:]}{others}."
    departures = list(dict.fromkeys(departure for group in groups for departure in group.departures))
    return text + (f" Not the paper's settings: {'; '.join(departures)}." if departures else "")


def _seeds(group: Group) -> str:
    known = [seed for seed in group.seeds if seed is not None]
    count = len(group.seeds)
    if len(known) < count:
        return f"{count} run{'s' if count > 1 else ''}, not all with a seed"
    if count > 2 and known == list(range(known[0], known[0] + count)):
        return f"seeds {known[0]} to {known[-1]}"
    return f"seed{'s' if count > 1 else ''} {', '.join(map(str, known))}"


def _latex(table: Table, number: int) -> str:
    rows = []
    for row, name in enumerate(table.mechanisms):
        cells = (_cell(column, row, _LATEX, "\\textbf{", "}") for column in table.columns)
        rows.append(" & ".join([_escaped(name, _LATEX), *cells]))
    heading = " & ".join(["mechanism", *(_heading(column.title) for column in table.columns)])
    return "\n".join(
        [
            "\\begin{table}",
            "\\centering",
            f"\\caption{{{_escaped(table.caption, _LATEX)}}}",
            f"\\label{{tab:runs-{number}}}",
            "\\medskip",
            "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%",  # a wide one shrinks
            f"\\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
            "\\toprule",
            f"{heading} \\\\",
            "\\midrule",
            *(f"{row} \\\\" for row in rows),
            "\\bottomrule",
            "\\end{tabular}}",
            "\\end{table}",
            "",
        ]
    )


def _heading(title: str) -> str:
    """A long one on lines of some words."""
    lines = textwrap.wrap(title, _HEADING)
    escaped = "\\\\".join(_escaped(line, _LATEX) for line in lines)
    return f"\\shortstack[r]{{{escaped}}}" if len(lines) > 1 else escaped


def _markdown(table: Table) -> str:
    heading = ["mechanism", *(column.title for column in table.columns)]
    lines = [heading, ["---", *("---:" for _ in table.columns)]]
    for row, name in enumerate(table.mechanisms):
        lines.append([_escaped(name, _MARKDOWN), *(_cell(c, row, _MARKDOWN, "**", "**") for c in table.columns)])
    text = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([_escaped(table.caption, _MARKDOWN), "", *text, ""])


def _cell(column: Column, row: int, signs: dict[str, str], begin: str, end: str) -> str:
    text = _escaped(column.cells[row], signs)
    return f"{begin}{text}{end}" if column.best[row] else text


def _escaped(text: str, signs: dict[str, str]) -> str:
    """On one line, with what the format would take for its own written so that it shows."""
    return "".join(signs.get(sign, sign) for sign in shown(" ".join(text.split())))
