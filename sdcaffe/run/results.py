"""The table of a sweep: what was set, and what the last tests gave. Runs nothing."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sdcaffe.log import accuracy
from sdcaffe.log.table import text_table

if TYPE_CHECKING:
    from sdcaffe.run.training import Outcome


def table(outcomes: Sequence[Outcome]) -> list[str]:
    """Lines with a row for each combination of settings: its runs, and the mean over them of each measure.

    A setting that all runs share stands above. A measure is the test error in percent of a test net; of one without
    accuracy, each output. Of several runs (seeds) the sample standard deviation follows. A run that was stopped counts
    with its last test, and says so.
    """
    groups: dict[tuple[tuple[str, str], ...], list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(tuple(outcome.settings.items()), []).append(outcome)
    measured = {id(outcome): _measures(outcome) for outcome in outcomes}
    columns = list(dict.fromkeys(name for found in measured.values() for name in found))
    values = {name: dict.fromkeys(outcome.settings.get(name, "") for outcome in outcomes) for name in _names(outcomes)}
    shared = [f"{name}={next(iter(found))}" for name, found in values.items() if len(found) == 1]
    names = [name for name, found in values.items() if len(found) > 1]
    rows = [[*names, "runs", *columns]]
    for settings, runs in groups.items():
        own = dict(settings)
        count = f"{len(runs)}{'' if all(run.finished for run in runs) else ', stopped'}"
        cells = [[measured[id(run)][name] for run in runs if name in measured[id(run)]] for name in columns]
        rows.append([*(own.get(name, "") for name in names), count, *map(_cell, cells)])
    head = [f"all with {', '.join(shared)}", ""] if shared else []
    return [*head, *text_table(rows, "r" * len(rows[0]))]


def _names(outcomes: Sequence[Outcome]) -> list[str]:
    return list(dict.fromkeys(name for outcome in outcomes for name in outcome.settings))


def _measures(outcome: Outcome) -> dict[str, float]:
    found: dict[str, float] = {}
    for net, scores in sorted(outcome.scores.items()):
        of = f" #{net}" if len(outcome.scores) > 1 else ""
        value = accuracy(scores)
        named = dict(scores) if value is None else {"test error, %": 100 * (1 - value)}
        found.update({f"{name}{of}": number for name, number in named.items()})
    return found


def _cell(values: Sequence[float]) -> str:
    if not values:
        return "-"
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    mean = statistics.mean(values)
    return f"{mean:.2f}{spread}" if spread or abs(mean) >= 1 else f"{mean:.4g}"
