"""A comparison with the paper as text for a terminal, as CSV and as JSON."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from sdcaffe.log.table import text_table
from sdcaffe.paper.compare import measures
from sdcaffe.paper.compare.comparison import MEASURED, Comparison, Group, Row, Spread, gains
from sdcaffe.paper.compare.intervals import Difference, Interval, differences
from sdcaffe.paper.compare.runs import TrainingRun
from sdcaffe.paper.published import BASELINE, TITLES

_HEADING = ("network", "data set", "mechanism", "mu", "paper", "last", "best", "seeds", "difference", "iterations")
_COLUMNS = (
    "table", "network", "parameters", "data_set", "mechanism", "peer", "mu", "paper_top1_error", "paper_top5_error",
    "status", "measured_mu", "runs", "seeds", "last_top1_error", "last_top1_deviation", "best_top1_error",
    "best_top1_deviation", "last_top5_error", "last_top5_deviation", "top1_difference", "top5_difference",
    "iterations", "max_iter", "departures", "logs", "precision", "devices", "processes",
    "baseline_difference", "baseline_difference_low", "baseline_difference_high", "baseline_difference_by",
    *(f"{measure.output}{suffix}" for measure in measures.MEASURES for suffix in ("", "_deviation")),
)  # fmt: skip


def lines(found: Comparison) -> list[str]:
    """All tables; a value in brackets is of settings that are not the paper's."""
    text = []
    for table, title in TITLES.items():
        rows = [row for row in found.rows if row.value.table == table]
        cells = [_HEADING, *(line for row in rows for line in _row(row))]
        text += [f"{title} (test error, %)", "", *text_table(cells, "llllrrrlrl"), ""]
    text += _gain_lines(found)
    text += _other_lines(found)
    text += _difference_lines(found)
    text += _measure_lines(found)
    unfinished = [run for run in found.runs if not run.finished]
    unknown = [run for run in found.others if not run.comparable]
    for title, runs in (("Cut short, so no results", unfinished), ("Not recognised", unknown)):
        if runs:
            text += [f"{title}:", *(f"  {' + '.join(run.logs)}: {_about(run)}" for run in runs), ""]
    return [*text, found.summary]


def _row(row: Row) -> list[tuple[str, ...]]:
    value = row.value
    errors = f"{value.top1_error:.2f}" + (f" / {value.top5_error:.2f}" if value.top5_error is not None else "")
    head = (value.network, value.data_set, mechanism(row), value.mu_text, errors)
    if not row.groups:
        return [head]
    return [
        (*(head if i == 0 else ("",) * len(head)), *measured_cells(row, group)) for i, group in enumerate(row.groups)
    ]


def measured_cells(row: Row, group: Group) -> tuple[str, str, str, str, str]:
    """Last and best error, seeds, difference to the paper and a note; nothing is in a cell that has no result."""
    form = "{}" if group.status == MEASURED else "({})"
    last, best, difference = (
        _pair(*pair)
        for pair in (
            (group.last, group.last_top5),
            (group.best, None),
            (row.difference(group), row.difference_top5(group)),
        )
    )
    seeds = ", ".join("none" if seed is None else str(seed) for seed in group.seeds)
    note = group.note
    if group is not row.groups[0] and not group.departures:
        note = "; ".join([note, *group.unlike(row.groups[0])])
    if group.runs[0].mu is not None and row.value.mu and row.value.mu[0] != row.value.mu[1]:
        note = f"mu {group.runs[0].mu:g}; {note}"
    return (form.format(last) if last else "", form.format(best) if best else "", seeds, difference, note)


def _pair(first: Spread | float | None, second: Spread | float | None) -> str:
    shown = [
        f"{value:+.2f}" if isinstance(value, float) else str(value) for value in (first, second) if value is not None
    ]
    return " / ".join(shown)


def mechanism(row: Row) -> str:
    """The mechanism, with its peer or teacher."""
    value = row.value
    return f"{value.mechanism}, {value.peer}" if value.peer else value.mechanism


def _gain_lines(found: Comparison) -> list[str]:
    measured = [gain for gain in gains(found.rows) if gain.measured is not None]
    if not measured:
        return []
    cells = [("network", "data set", "paper", "measured")]
    cells += [(g.network, g.data_set, f"{g.published:.2f}", f"{g.measured:.2f}") for g in measured]
    return ["Baseline's error less self-distilled's (points)", "", *text_table(cells, "llrr"), ""]


OTHER_HEADING = ("network", "data", "mechanism", "mu", "last", "best", "seeds", "runs")


def other_cells(group: Group) -> tuple[str, ...]:
    """A line for runs that stand for no published value, under OTHER_HEADING."""
    first = group.runs[0]
    seeds = ", ".join("none" if seed is None else str(seed) for seed in group.seeds)
    return (
        first.network,
        first.data_set,
        group.title,
        f"{first.mu:g}" if first.mu else "",
        str(group.last or ""),
        str(group.best or ""),
        seeds,
        f"{group.note}; {first.reason}",
    )


def _other_lines(found: Comparison) -> list[str]:
    if not found.other_groups:
        return []
    cells = [OTHER_HEADING, *map(other_cells, found.other_groups)]
    return ["Not in the paper (test error, %)", "", *text_table(cells, "lllrrrll"), ""]


DIFFERENCE_HEADING = ("network", "data", "mechanism", "mu", "against", "difference", "95 % interval", "from")


def difference_cells(found: Difference) -> tuple[str, ...]:
    """A line for how a mechanism's error differs from another's, under DIFFERENCE_HEADING."""
    run, interval = found.group.runs[0], found.interval
    return (
        run.network,
        run.data_set,
        found.group.title,
        f"{run.mu:g}" if run.mu else "",
        found.base.title,
        f"{interval.mean:+.2f}",
        f"{interval.low:+.2f} to {interval.high:+.2f}",
        ", ".join(filter(None, (interval.by, found.group.trained_on))),
    )


def _difference_lines(found: Comparison) -> list[str]:
    cells = [DIFFERENCE_HEADING, *map(difference_cells, differences(found))]
    if len(cells) == 1:
        return []
    return ["Differences between mechanisms (points of test error)", "", *text_table(cells, "lllrlrrl"), ""]


def _measure_lines(found: Comparison) -> list[str]:
    groups = measures.measured(found)
    if not groups:
        return []
    titles = tuple(measure.title for measure in measures.MEASURES)
    rows = [(*measures.HEADING, *titles), *map(measures.cells, groups)]
    text = ["What predictions are worth (the last test)", "", *text_table(rows, "lllrrrrr"), ""]
    rows = [(*measures.CONTRAST_HEADING, *titles), *map(measures.contrast_cells, measures.contrasts(found))]
    if len(rows) > 1:
        text += ["The same as differences, with 95 % intervals", "", *text_table(rows, "lllllrrrr"), ""]
    return text


def _about(run: TrainingRun) -> str:
    if not run.reason:
        return f"{run.network}, {run.data_set}, {run.mechanism}, {run.progress}"
    error = run.last()
    return run.reason + (f" (last test error {error:.2f} %, iterations: {run.progress})" if error is not None else "")


def to_csv(found: Comparison) -> str:
    """A line for each published value and each group of runs that measures it; one without runs has its own line.

    Groups that stand for no published value follow, without table and paper's error.
    """
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    against = {id(d.group): d.interval for d in differences(found) if d.base.title == BASELINE}
    for row in found.rows:
        head = _value(row)
        if not row.groups:
            writer.writerow({**head, "status": "not measured"})
        for group in row.groups:
            writer.writerow({**head, **_flat(group, row), **_from_baseline(against.get(id(group)))})
    for group in found.other_groups:
        first = group.runs[0]
        head = {name: getattr(first, name) for name in ("network", "data_set", "mechanism", "peer")}
        writer.writerow(
            {**head, "mu": "", **_flat(group), "status": _status(group), **_from_baseline(against.get(id(group)))}
        )
    return file.getvalue()


def _from_baseline(interval: Interval | None) -> dict[str, Any]:
    if interval is None:
        return {}
    name = "baseline_difference"
    values = {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}
    return {**{key: _plain(value) for key, value in values.items()}, f"{name}_by": interval.by}


def _value(row: Row) -> dict[str, Any]:
    value = row.value
    return {
        "table": value.table,
        "network": value.network,
        "parameters": value.parameters,
        "data_set": value.data_set,
        "mechanism": value.mechanism,
        "peer": value.peer,
        "mu": value.mu_text,
        "paper_top1_error": value.top1_error,
        "paper_top5_error": value.top5_error,
    }


def _numbers(group: Group, row: Row | None = None) -> dict[str, Any]:
    """What a group measured, of a published value or of none; a group that finished no run has no errors."""
    found: dict[str, Any] = {
        "status": group.status,
        "precision": group.precision,
        "measured_mu": _plain(group.runs[0].mu),
        "runs": len(group.finished),
    }
    for name, spread in (("last_top1", group.last), ("best_top1", group.best), ("last_top5", group.last_top5)):
        found[f"{name}_error"] = _plain(spread.mean) if spread else None
        found[f"{name}_deviation"] = _plain(spread.deviation) if spread else None
    found["top1_difference"] = _plain(row.difference(group)) if row else None
    found["top5_difference"] = _plain(row.difference_top5(group)) if row else None
    return found


def _plain(value: float | None) -> float | None:
    """Without the digits that are the computer's, not the log's."""
    return None if value is None else float(f"{value:.6g}")


def _flat(group: Group, row: Row | None = None) -> dict[str, Any]:
    found = _numbers(group, row)
    predictions = {
        f"{measure.output}{suffix}": _plain(number)
        for measure in measures.MEASURES
        if (spread := measure.spread(group))
        for suffix, number in (("", spread.mean), ("_deviation", spread.deviation))
    }
    return {
        **found,
        **predictions,
        "seeds": " ".join("none" if seed is None else str(seed) for seed in group.seeds),
        "iterations": " ".join(str(run.iterations) for run in group.runs),
        "max_iter": group.runs[0].max_iter,
        "departures": "; ".join(group.departures),
        "logs": " ".join(log for run in group.runs for log in run.logs),
        "devices": " ".join(dict.fromkeys(kind for run in group.runs for kind in run.log.devices)),
        "processes": group.runs[0].log.processes,
    }


def to_json(found: Comparison) -> str:
    """The whole comparison: published values with their groups, gains, runs with their settings, what is unknown."""
    groups = [
        {
            **_value(row),
            "measured": [
                {
                    **_numbers(group, row),
                    "seeds": group.seeds,
                    "departures": group.departures,
                    "finished": [run.logs for run in group.finished],
                    "cut_short": [run.logs for run in group.unfinished],
                }
                for group in row.groups
            ],
        }
        for row in found.rows
    ]
    content = {
        "summary": found.summary,
        "published": groups,
        "gains": [
            {"network": g.network, "data_set": g.data_set, "paper": _plain(g.published), "measured": _plain(g.measured)}
            for g in gains(found.rows)
        ],
        "differences": [_difference(each) for each in differences(found)],
        "not_in_the_paper": [_other(group) for group in found.other_groups],
        "runs": [_run(run) for run in found.runs],
        "not_recognised": [{**_run(run), "reason": run.reason} for run in found.others],
    }
    return json.dumps(content, indent=2) + "\n"


def _difference(found: Difference) -> dict[str, Any]:
    run, interval = found.group.runs[0], found.interval
    return {
        "network": run.network,
        "data_set": run.data_set,
        "mechanism": run.mechanism,
        "peer": run.peer,
        "mu": _plain(run.mu),
        "title": found.group.title,
        "precision": run.precision,
        "against": found.base.runs[0].mechanism,
        "against_title": found.base.title,
        "difference": _plain(interval.mean),
        "low": _plain(interval.low),
        "high": _plain(interval.high),
        "from": interval.by,
    }


def _status(group: Group) -> str:
    return "not in the paper" if group.finished else group.status


def _other(group: Group) -> dict[str, Any]:
    first = group.runs[0]
    return {
        "network": first.network,
        "data_set": first.data_set,
        "mechanism": first.mechanism,
        "peer": first.peer,
        "title": group.title,
        "reason": first.reason,
        **_numbers(group),
        "status": _status(group),
        "seeds": group.seeds,
        "finished": [run.logs for run in group.finished],
        "cut_short": [run.logs for run in group.unfinished],
    }


def _run(run: TrainingRun) -> dict[str, Any]:
    """One run; the errors of one cut short are those so far."""
    return {
        "logs": run.logs,
        "net": run.log.net,
        "network": run.network,
        "data_set": run.data_set,
        "mechanism": run.mechanism,
        "peer": run.peer,
        "mu": _plain(run.mu),
        "seed": run.seed,
        "precision": run.precision,
        "tested_in": run.tested_in,
        "devices": run.log.devices,
        "processes": run.log.processes,
        "finished": run.finished,
        "iterations": run.iterations,
        "max_iter": run.max_iter,
        "starts_at": run.starts_at,
        "last_error" if run.finished else "error_so_far": _plain(run.last()),
        "last_test": run.last_test,
        "settings": run.settings,
        "departures": run.departures,
    }
