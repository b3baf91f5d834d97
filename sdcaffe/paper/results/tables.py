"""Each table of the pages as Markdown, from the logs in reference_logs. It reads no page."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from sdcaffe.paper.compare import Group
from sdcaffe.paper.compare.intervals import Interval, between
from sdcaffe.paper.compare.measures import MEASURES, Measure, contrasts
from sdcaffe.paper.published import BASELINE, SELF_DISTILLED, Value
from sdcaffe.paper.results.runs import LOGS, by_recipe, comparison, groups, recipes

STUDY, OLD_STUDY, OPEN = "study2", "study", "open_questions"
QUICKSTART, TAUGHT = "quickstart", "quickstart_taught"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def interval(found: Interval | None, digits: int = 2) -> str:
    if found is None:
        return ""
    return f"{found.mean:+.{digits}f} ({found.low:+.{digits}f} to {found.high:+.{digits}f})"


# ---------------------------------------------------------------- full length


def full_length() -> str:
    """The paper's values of which a run by its recipe is finished or under way, finished ones first."""
    rows = []
    for folder, whole in (("runs/cifar100", True), ("unfinished", False)):
        for row in comparison(folder).rows:
            twice = row.value.table == 6 and row.value.mechanism in (BASELINE, SELF_DISTILLED)  # as in Table 3
            for group in row.groups if row.value.table in (3, 6) and not twice else ():
                if not group.departures and bool(group.finished) == whole:
                    rows.append(_full_row(row.value, group))
    if not rows:
        return "No run of the paper's full length has begun."
    return table(("network", "mechanism", "paper", "here", "iterations", "trained in", "tested in"), rows)


def _full_row(value: Value, group: Group) -> list[str]:
    run = group.runs[0]
    error, paper = run.last(), f"{value.top1_error:.2f}"
    here = str(group.last) if group.finished else "" if error is None else f"{error:.2f} so far"
    reached = f"{run.iterations:,} of {run.max_iter:,}"
    return [value.network, value.mechanism, paper, here, reached, run.precision, run.tested_in]


def first_iterations() -> str:
    """The run of 900 iterations."""
    (run,) = [run for run in comparison("runs/cifar100").runs if run.max_iter == 900]
    rows = [(f"{row.iteration:,}", f"{row.loss:.2f}", "") for row in run.log.train[:1]]
    rows += [(f"{row.iteration:,}", f"{row.loss:.2f}", f"{run.last():.2f}") for row in run.log.train[-1:]]
    return table(("iteration", "training loss", "test error, %"), rows)


# ---------------------------------------------------------------- the second study


def study_progress() -> str:
    """How many of its runs are finished."""
    found = by_recipe(groups(f"runs/{STUDY}", "bf16"), STUDY)
    wanted = sum(recipe.seeds for recipe in recipes(STUDY))
    done = sum(len(group.finished) for group in found.values())
    if done == wanted:
        return f"All {wanted} runs are finished."
    return (
        f"**{done} of {wanted} runs are finished.** They are made seed by seed, so what follows is of those seeds that "
        "the table names, and is not yet the study's answer."
    )


def study() -> str:
    """Mean and deviation of each measure of each arm."""
    found = by_recipe(groups(f"runs/{STUDY}", "bf16"), STUDY)
    head = ("arm", "seeds", *(measure.title for measure in MEASURES))
    rows = []
    for recipe in recipes(STUDY):
        group = found.get(recipe.mechanism.file)
        shown = [measure.show(measure.spread(group)) if group else "" for measure in MEASURES]
        done = len(group.finished) if group else 0
        rows.append([recipe.mechanism.title, f"{done} of {recipe.seeds}", *shown])
    return table(head, rows)


def study_differences() -> str:
    """Each two-branch arm less the three that it is held against, with intervals."""
    rows = []
    for each in contrasts(comparison(f"runs/{STUDY}")):
        if each.group.precision != "bf16":
            continue
        by = next(found.by for found in each.intervals if found)
        pairs = zip(MEASURES, each.intervals, strict=True)
        shown = [measure.show_interval(found) for measure, found in pairs]
        rows.append([each.group.title, each.base.title, by, *shown])
    if not rows:
        return "No two arms have two seeds each yet, so there is no interval."
    return table(("arm", "less", "from", *(measure.title for measure in MEASURES)), rows)


def study_devices() -> str:
    """Each run that a CPU made, beside the mean and deviation of its arm on the GPU."""
    there = by_recipe(groups(f"runs/{STUDY}", "bf16"), STUDY)
    rows = []
    for name, group in by_recipe(groups(f"runs/{STUDY}_cpu", "bf16"), STUDY).items():
        rows += _beside(group, there[name])
    return table(("arm", "seed", *(measure.title for measure in MEASURES)), rows)


def open_questions() -> str:
    """Each run of what the paper leaves open, done otherwise, below the study's on the same kind of device."""
    spread = by_recipe(groups(f"runs/{STUDY}", "bf16"), STUDY)["self_distilled"]
    here = by_recipe(groups(f"runs/{STUDY}_cpu", "bf16"), STUDY)["self_distilled"]
    rows = _beside(here, spread)
    for group in by_recipe(groups(f"runs/{OPEN}", "bf16"), OPEN).values():
        rows += _beside(group, spread)
    return table(("arm", "seed", *(measure.title for measure in MEASURES)), rows)


def open_questions_differences() -> str:
    """Each arm that has two runs or more less the study's on a GPU: not paired, for no two such runs go alike."""
    study = by_recipe(groups(f"runs/{STUDY}", "bf16"), STUDY)["self_distilled"]
    rows = []
    for group in by_recipe(groups(f"runs/{OPEN}", "bf16"), OPEN).values():
        values = [[[(None, value) for _, value in m.of(some)] for some in (group, study)] for m in MEASURES]
        found = [between(*both) for both in values]
        if found[0] is not None:
            shown = [measure.show_interval(each) for measure, each in zip(MEASURES, found, strict=True)]
            rows.append([group.title, found[0].by, *shown])
    return table(("arm less the study's", "from", *(measure.title for measure in MEASURES)), rows)


def _beside(group: Group, there: Group) -> list[list[str]]:
    """A row a seed: each measure, and in brackets the mean and deviation that it has `there`."""
    rows = []
    values = [dict(measure.of(group)) for measure in MEASURES]
    for seed in sorted(values[0], key=lambda seed: seed or 0):
        pairs = zip(MEASURES, values, strict=True)
        shown = [f"{of[seed]:.{m.digits}f} ({m.show(m.spread(there))})" for m, of in pairs]
        rows.append([group.title, str(seed), *shown])
    return rows


# ---------------------------------------------------------------- the quickstart

_ERROR = Measure("error", "error, %", 1, 2)


def quickstart() -> str:
    """Every seed's test error."""
    return _by_seed(QUICKSTART)


def quickstart_differences() -> str:
    """The arms less each other."""
    arms = list(by_recipe(groups(f"runs/{QUICKSTART}", "fp32"), QUICKSTART))
    return _differences(QUICKSTART, [(arm, base) for i, base in enumerate(arms) for arm in arms[i + 1 :]])


def taught() -> str:
    """Every seed's test error, of nets that a peer or a teacher taught, in the quickstart's setting."""
    return _by_seed(TAUGHT)


def taught_differences() -> str:
    """Each of the paper's open questions on peers and teachers: one choice less the other."""
    return _differences(TAUGHT, [("peer_in_turn", "peer"), ("taught_printed", "taught")])


def _by_seed(folder: str) -> str:
    found = by_recipe(groups(f"runs/{folder}", "fp32"), folder)
    seeds = sorted({seed for group in found.values() for seed, _ in _errors(group) if seed is not None})
    rows = []
    for group in found.values():
        by_seed = dict(_errors(group))
        shown = [f"{by_seed[seed]:.2f}" if seed in by_seed else "" for seed in seeds]
        rows.append([group.title, *shown, str(group.last)])
    return table(("test error, %", *(f"seed {seed}" for seed in seeds), "mean"), rows)


def _differences(folder: str, pairs: Iterable[tuple[str, str]]) -> str:
    """The first of each pair of arms less the second, where both have seeds enough."""
    found = by_recipe(groups(f"runs/{folder}", "fp32"), folder)
    rows = []
    for arm, base in pairs:
        made = between(_errors(found[arm]), _errors(found[base])) if {arm, base} <= set(found) else None
        if made:
            rows.append([found[arm].title, found[base].title, interval(made), made.by])
    return table(("points of test error", "less", "difference (95 % interval)", "from"), rows)


def precisions() -> str:
    """Runs in bf16 less the same in fp32."""
    rows = []
    for folder in (QUICKSTART, STUDY):
        exact = by_recipe(groups(f"runs/{folder}", "fp32"), folder)
        for name, group in by_recipe(groups(f"runs/{folder}", "bf16"), folder).items():
            made = between(_errors(group), _errors(exact[name])) if name in exact else None
            if made:
                first = [folder, group.title, str(exact[name].last), str(group.last)]
                rows.append([*first, interval(made), made.by])
    if not rows:
        return "Not measured yet."
    return table(("", "arm", "fp32", "bf16", "bf16 less fp32 (95 % interval)", "from"), rows)


def _errors(group: Group) -> list[tuple[int | None, float]]:
    return [(run.seed, error) for run in group.finished if (error := run.last()) is not None]


# ---------------------------------------------------------------- the others


def old_study() -> str:
    """The first study: errors of its five arms."""
    found = by_recipe(groups(f"runs/{OLD_STUDY}"), OLD_STUDY)
    return table([group.title for group in found.values()], [[str(group.last) for group in found.values()]])


def directions() -> str:
    """Accuracy by the share of channels clamped, of the quickstart's nets, from reliance.csv: mean over nets."""
    with open(LOGS / "runs" / QUICKSTART / "reliance.csv", encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    units = int(lines[0]["units"])
    points = sorted({int(line["clamped"]) for line in lines})
    rows = []
    for kind in dict.fromkeys(line["trained"] for line in lines):
        curves: dict[str, list[float]] = {}
        for net in dict.fromkeys(line["net"] for line in lines if line["trained"] == kind):
            of_net = [line for line in lines if line["net"] == net]
            curves[net] = [
                statistics.fmean(100 * float(line["accuracy"]) for line in of_net if int(line["clamped"]) == point)
                for point in points
            ]
        areas = [float(np.trapezoid(curve, np.array(points) / units)) for curve in curves.values()]
        cells = [_mean([curve[points.index(round(units * share))] for curve in curves.values()]) for share in _SHARES]
        rows.append([kind.rpartition(" images ")[2], *cells, _mean(areas)])
    head = ["none" if not share else f"{share:.0%}".replace("%", " %") for share in _SHARES]
    return table(("channels clamped", *head, "area below the curve"), rows)


_SHARES = (0, 0.1, 0.2, 0.3)


def _mean(values: Sequence[float]) -> str:
    return f"{statistics.fmean(values):.2f} ± {statistics.stdev(values):.2f}"


# ---------------------------------------------------------------- gradients

PAPERS_MU, BATCH = 0.0005, 64


def _gradients() -> list[dict[str, str]]:
    with open(LOGS / "gradients.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def gradients() -> str:
    """Each loss's gradient as a share of cross-entropy's, at mu = 1 and lambda = 1."""
    rows = [
        [line["net"], line["state"], *(f"{float(line[name]):.2g}" for name in ("cross_entropy", "mmd", *_KL))]
        for line in _gradients()
    ]
    titles = [f"KL, T = {name.partition('_')[2]}" for name in _KL]
    return table(("net", "state", "norm of cross-entropy's", "MMD, mu = 1", *titles), rows)


_KL = ("kl_1", "kl_2", "kl_3", "kl_4")


def gradients_of_mmd() -> str:
    """MMD's share at the paper's mu, for means over the n = 64 images and for sums in their place."""
    rows = []
    for line in _gradients():
        share = PAPERS_MU * float(line["mmd"])
        rows.append([line["net"], line["state"], *(f"{share * BATCH**power:.2g}" for power in (0, 1, 2))])
    return table(("net", "state", "means, as printed", "n times that", "n² times, sums for means"), rows)


TABLES: dict[str, Callable[[], str]] = {
    "full-length": full_length,
    "first-iterations": first_iterations,
    "study-progress": study_progress,
    "study": study,
    "study-differences": study_differences,
    "study-devices": study_devices,
    "open-questions": open_questions,
    "open-questions-differences": open_questions_differences,
    "taught": taught,
    "taught-differences": taught_differences,
    "quickstart": quickstart,
    "quickstart-differences": quickstart_differences,
    "precisions": precisions,
    "old-study": old_study,
    "directions": directions,
    "gradients": gradients,
    "gradients-of-mmd": gradients_of_mmd,
}
