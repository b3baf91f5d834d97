"""Compares runs with the paper: which log measures which published value, and what it says. It lays out no page."""

from __future__ import annotations

import functools
import math
import re
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from sdcaffe.errors import DataError
from sdcaffe.layers import discover
from sdcaffe.log import Run, parse_log
from sdcaffe.paper import published as paper
from sdcaffe.paper.compare.recognise import recognise
from sdcaffe.paper.compare.runs import TrainingRun
from sdcaffe.paper.published import Value
from sdcaffe.reading import is_regular

MEASURED, OTHER_SETTINGS, CUT_SHORT = "measured", "other settings", "cut short"

_LOG_LINE = re.compile(rb"^[IWEF](\d{4})?\d{4} \d\d:\d\d:\d\d", re.MULTILINE)
_USUAL_MU = 0.0005
_SHOWN = 60  # characters of a setting that are told in a table
_LOOK = 1 << 16  # bytes of a file that show whether it is a log


@dataclass(frozen=True)
class Spread:
    """Mean and sample deviation of what several runs ended with; one run has no deviation."""

    mean: float
    deviation: float | None

    def __str__(self) -> str:
        return f"{self.mean:.2f}" if self.deviation is None else f"{self.mean:.2f} ± {self.deviation:.2f}"


@dataclass
class Group:
    """Runs that differ by their seed alone."""

    runs: list[TrainingRun] = field(default_factory=list)

    @property
    def finished(self) -> list[TrainingRun]:
        return [run for run in self.runs if run.finished]

    @property
    def unfinished(self) -> list[TrainingRun]:
        return [run for run in self.runs if not run.finished]

    @property
    def departures(self) -> list[str]:
        return self.runs[0].departures

    def measures(self, value: Value) -> bool:
        run = self.runs[0]
        return value.matches(run.network, run.data_set, run.mechanism, run.peer, run.mu)

    @property
    def title(self) -> str:
        """What the mechanism is called: as its recipe is, where it is followed and says more than the paper's word."""
        run = self.runs[0]
        if run.recipe is not None and not run.departures and run.reason:
            return run.recipe.mechanism.title
        return f"{run.mechanism}, {run.peer}" if run.peer else run.mechanism

    @property
    def status(self) -> str:
        """A result is of whole runs, and of the paper's settings."""
        if not self.finished:
            return CUT_SHORT
        return OTHER_SETTINGS if self.departures else MEASURED

    @property
    def last(self) -> Spread | None:
        """The test error that training ended with."""
        return _spread(run.last() for run in self.finished)

    @property
    def mean(self) -> float:
        """The mean of `last`; NaN where there is none."""
        return self.last.mean if self.last else math.nan

    @property
    def best(self) -> Spread | None:
        """The lowest test error of each run: chosen by the test images, so lower than an honest figure."""
        return _spread(run.best() for run in self.finished)

    @property
    def last_top5(self) -> Spread | None:
        return _spread(run.last(run.top5) for run in self.finished if run.top5)

    @property
    def seeds(self) -> list[int | None]:
        return [run.seed for run in self.finished]

    def unlike(self, other: Group) -> list[str]:
        """The settings that are not those of another group; long ones by their names only."""
        own, others = self.runs[0].what, other.runs[0].what
        found = []
        for name in {**others, **own}:
            if own.get(name) != others.get(name):
                text = own.get(name, "")
                found.append(f"{name} {text}" if 0 < len(text) <= _SHOWN else f"other {name}" if text else f"no {name}")
        return found

    @property
    def precision(self) -> str:
        return self.runs[0].precision

    @property
    def trained_on(self) -> str:
        """What is to be marked: another precision than fp32, GPUs, several processes."""
        kinds = list(dict.fromkeys(kind for run in self.runs for kind in run.log.devices))
        processes = self.runs[0].log.processes
        tested = {run.tested_in for run in self.runs}
        precision = f"{self.precision}, tests too" if self.precision in tested else self.precision
        said = [precision if self.precision != "fp32" else "", " and ".join(kinds) if "GPU" in kinds else ""]
        said.append(f"{processes} processes" if processes > 1 else "")
        return ", ".join(filter(None, said))

    @property
    def note(self) -> str:
        """How far its runs got, and what is not the paper's."""
        parts = [f"{', '.join(sorted({run.progress for run in self.finished}))} iterations"] if self.finished else []
        parts += [run.progress for run in self.unfinished]
        parts += [self.trained_on] if self.trained_on else []
        if self.departures:
            parts.append(f"not the paper's: {'; '.join(self.departures)}")
        if starts := [run.starts_at for run in self.runs if run.starts_at]:
            parts.append(f"the log of what came before iteration {max(starts):,} is missing")
        return "; ".join(parts)


@dataclass
class Row:
    """A published value, and the groups of runs that have its network, data set and mechanism, results first."""

    value: Value
    groups: list[Group]

    @property
    def result(self) -> Group | None:
        return next((group for group in self.groups if group.status == MEASURED), None)

    def difference(self, group: Group) -> float | None:
        """Measured less published top-1 error, of a result."""
        return group.last.mean - self.value.top1_error if group.status == MEASURED and group.last else None

    def difference_top5(self, group: Group) -> float | None:
        if group.status != MEASURED or group.last_top5 is None or self.value.top5_error is None:
            return None
        return group.last_top5.mean - self.value.top5_error


@dataclass
class Comparison:
    """`runs` are those that stand for a published value, `others` those that do not, each with its reason."""

    rows: list[Row]
    runs: list[TrainingRun]
    others: list[TrainingRun]

    @functools.cached_property
    def other_groups(self) -> list[Group]:
        """Runs of a known mechanism on a network or data that the paper has no value of, the paper's order first."""
        order = list(dict.fromkeys(row.value.mechanism for row in self.rows if row.value.table == 6))

        def place(group: Group) -> tuple[object, ...]:
            first = group.runs[0]
            known = order.index(first.mechanism) if first.mechanism in order else len(order)
            return first.network, first.data_set, known, first.mu or 0, *first.settings.values()

        return sorted(grouped(run for run in self.others if run.comparable), key=place)

    @property
    def summary(self) -> str:
        done = sum(row.result is not None for row in self.rows)
        results, cut = sum(run.result for run in self.runs), sum(not run.finished for run in self.runs)
        return (
            f"{done} of {len(self.rows)} published values measured, by {_count(results, 'finished run')}; "
            f"{cut} cut short, {len(self.runs) - results - cut} of other settings, "
            f"{_count(len(self.others), 'log')} of what the paper does not have."
        )


@dataclass
class Gain:
    """What self-distillation takes off the baseline's error, in percent points."""

    network: str
    data_set: str
    published: float
    measured: float | None


def compare(paths: Sequence[str | Path], values: Sequence[Value] | None = None) -> Comparison:
    """Compare logs, or all logs in folders, with the paper. Raises DataError for what is no log or folder."""
    discover()  # the fields of layers that logs show
    values = values or paper.load()
    runs = read_runs(paths, values)
    recognised = [run for run in runs if not run.reason]
    groups = grouped(recognised)
    rows = []
    for value in values:
        found = [group for group in groups if group.measures(value)]
        rows.append(Row(value, ranked(found)))
    return Comparison(rows, recognised, [run for run in runs if run.reason])


def grouped(runs: Iterable[TrainingRun]) -> list[Group]:
    """Runs put together where all is the same but the seed, each group in the order of seeds."""
    groups: dict[tuple[object, ...], Group] = {}
    for run in sorted(runs, key=lambda run: (run.seed is None, run.seed or 0, run.logs)):
        own = (run.network, run.data_set, run.mechanism, run.peer, run.log.processes)
        key = (*own, *run.what.items(), *run.departures)
        groups.setdefault(key, Group()).runs.append(run)
    return list(groups.values())


def ranked(groups: Iterable[Group]) -> list[Group]:
    """Groups in the order in which one would take them for the paper's value."""
    return sorted(groups, key=_rank)


def _rank(group: Group) -> tuple[object, ...]:
    """Results first, of these the most repeated, then fp32 and the mu of Table 5's best, never the lowest error."""
    order = (MEASURED, OTHER_SETTINGS, CUT_SHORT).index(group.status)
    first = group.runs[0]
    away = abs((first.mu or 0) - _USUAL_MU)
    return order, -len(group.finished), group.precision != "fp32", away, tuple(first.settings.values())


def gains(rows: Iterable[Row]) -> list[Gain]:
    """Baseline less self-distilled of every network and data set that the paper has both of (Tables 3 and 4)."""
    pairs: dict[tuple[str, str], dict[str, Row]] = {}
    for row in rows:
        if row.value.table in (3, 4):
            pairs.setdefault((row.value.network, row.value.data_set), {})[row.value.mechanism] = row
    found = []
    for (network, data_set), pair in pairs.items():
        base, distilled = pair[paper.BASELINE], pair[paper.SELF_DISTILLED]
        measured = None
        of_base, of_distilled = base.result, distilled.result
        if of_base and of_distilled and of_base.precision == of_distilled.precision:
            measured = of_base.mean - of_distilled.mean
        found.append(Gain(network, data_set, base.value.top1_error - distilled.value.top1_error, measured))
    return found


def read_runs(paths: Sequence[str | Path], values: Sequence[Value]) -> list[TrainingRun]:
    """The runs of all logs: sessions in files of their own joined, copies of a run left out."""
    runs: list[TrainingRun] = []
    seen: dict[tuple[object, ...], TrainingRun] = {}
    for path in find_logs(paths):
        run = recognise(str(path), parse_log(path), values)
        log = run.log
        tests = [(row.iteration, *row.outputs.items()) for row in log.test]
        key = (log.start, log.solver_text, *log.nets, log.end, len(log.train), *tests)
        if key in seen:
            run.copy, run.reason = True, f"a copy of {seen[key].logs[0]}"
        seen.setdefault(key, run)
        runs.append(run)
    _name_strangers(runs)
    return _joined(runs)


def _name_strangers(runs: Iterable[TrainingRun]) -> None:
    """Networks of no recipe are called as their nets are; those that are the same, by the shortest of their names."""
    strangers = [run for run in runs if run.network_key and run.network == run.log.net]
    names: dict[str, str] = {}
    for run in strangers:
        names[run.network_key] = min(run.network, names.get(run.network_key, run.network), key=len)
    for run in strangers:
        run.network = names[run.network_key]


def find_logs(paths: Sequence[str | Path]) -> list[Path]:
    """The files named, and of folders every file, however deep, whose content is a log's; each once."""
    found: dict[Path, Path] = {}
    for path in map(Path, paths):
        if not path.exists():
            raise DataError("there is no such log or folder", where=str(path))
        for file in _logs_in(path) if path.is_dir() else [path]:
            found.setdefault(file.resolve(), file)
    return list(found.values())


def _logs_in(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if is_regular(path) and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            with open(path, "rb") as file:
                if _LOG_LINE.search(file.read(_LOOK)):
                    yield path


def _joined(runs: list[TrainingRun]) -> list[TrainingRun]:
    """Put a log that begins at a snapshot behind the log that wrote it: the same run, two sessions, two files.

    Where that one was finished by itself, the end it has twice counts once.
    """
    left = list(runs)
    for later in sorted(runs, key=lambda run: run.starts_at):
        if not later.starts_at or not later.comparable:
            continue
        earlier = next((run for run in left if run is not later and _goes_on(run, later)), None)
        if earlier is None:
            continue
        if earlier.finished:
            later.copy, later.reason = True, f"it goes on from a snapshot of {earlier.logs[0]}, which was finished"
        else:
            earlier.log = _concatenated(earlier.log, later.log, later.starts_at)
            if earlier.log.devices:
                earlier.settings["device"] = ", ".join(earlier.log.devices)
            earlier.logs += later.logs
            left.remove(later)
    return left


def _goes_on(earlier: TrainingRun, later: TrainingRun) -> bool:
    """Whether `later` began at a snapshot that `earlier` wrote."""
    same = (earlier.seed, earlier.what) == (later.seed, later.what) and earlier.comparable
    wrote = any(snapshot.iteration == later.starts_at for snapshot in earlier.log.snapshots)
    before = earlier.log.start and later.log.start and earlier.log.start < later.log.start
    return bool(same and wrote and before)


def _concatenated(first: Run, second: Run, at: int) -> Run:
    displays = [row for row in first.train if row.iteration < at]
    tests = [row for row in first.test if row.iteration < at]
    snapshots = [row for row in first.snapshots if row.iteration <= at]
    offset = max((kept[-1].seconds for kept in (displays, tests, snapshots) if kept), default=0.0)
    for later in (second.train, second.test, second.snapshots):
        for row in later:
            row.seconds += offset
    return replace(
        second,
        start=first.start,
        weights=first.weights,
        devices=list(dict.fromkeys(first.devices + second.devices)),
        processes=max(first.processes, second.processes),
        train=displays + second.train,
        test=tests + second.test,
        snapshots=snapshots + second.snapshots,
        resumes=first.resumes + second.resumes,
    )


def _spread(values: Iterable[float | None]) -> Spread | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Spread(statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else None)


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
