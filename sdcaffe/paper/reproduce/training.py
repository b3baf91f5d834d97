"""Trains the runs of the published tables that no log shows finished, seed by seed, within a time limit.

Which runs these are is said in jobs.py; what the finished logs mean is `compare`'s business.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sdcaffe.errors import SdcaffeError
from sdcaffe.log import accuracy
from sdcaffe.log.table import text_table
from sdcaffe.paper import published
from sdcaffe.paper.compare import read_runs
from sdcaffe.paper.reproduce.jobs import Job, iteration_of, mark_done
from sdcaffe.run import lock, run
from sdcaffe.run.signals import Action
from sdcaffe.solver.snapshot import newest
from sdcaffe.tools.step_times import StepTime

_HEADING = ("tables", "run", "iterations", "step", "one run", "seeds done", "left")


@dataclass
class Limit:
    """When to stop: `clock` has reached `end`, or `asked` answers "stop" (a signal); other answers are passed on."""

    end: float = math.inf
    asked: Callable[[], Action | None] = lambda: None
    clock: Callable[[], float] = time.monotonic
    reached: bool = False

    def check(self) -> Action | None:
        """What a solver is to do now: None, "snapshot" or "stop"."""
        request = self.asked()
        if request == "stop" or self.clock() >= self.end:
            self.reached = True
        return "stop" if self.reached else request


def seconds_left(job: Job, times: dict[str, StepTime]) -> float | None:
    """What the rest of a run costs, tests left out; None where that is not known."""
    step = times[job.param.net].seconds if job.param.net in times else None
    return None if step is None else step * max(job.param.max_iter - job.iterations, 0)


def plan_lines(jobs: Sequence[Job], times: dict[str, StepTime]) -> list[str]:
    """The table of runs, the seeds of one solver in one line; then what all of it costs."""
    rows: list[tuple[str, ...]] = [_HEADING]
    notes: dict[str, None] = {}
    total, unknown, estimated = 0.0, False, False
    groups: dict[Path, list[Job]] = {}
    for job in jobs:
        if job.tables or job.taught:
            groups.setdefault(job.file, []).append(job)
    for group in groups.values():
        first, todo = group[0], [job for job in group if not job.done]
        took = times.get(first.param.net, StepTime())
        left = [seconds for job in todo if (seconds := seconds_left(job, times)) is not None]
        mark = "" if took.measured else "~"
        whole = "-" if took.seconds is None else f"{mark}{duration(took.seconds * first.param.max_iter)}"
        rows.append(
            (
                " ".join(first.tables) or "teacher",
                first.title,
                f"{first.param.max_iter:,}",
                "-" if took.seconds is None else f"{mark}{_step(took.seconds)}",
                whole,
                f"{len(group) - len(todo)} of {len(group)}",
                "cannot run" if took.problem else f"{mark}{duration(sum(left))}" if todo else "done",
            )
        )
        total += sum(left)
        unknown = unknown or len(left) < len(todo)
        estimated = estimated or (took.seconds is not None and not took.measured)
        if took.problem:
            notes[f"cannot run: {took.problem}"] = None
    text = text_table(rows, "llrrrrr")
    if estimated:
        notes["~ estimated from multiply-adds; --measure measures, and remembers it"] = None
    return [*text, "", *notes, f"{duration(total)} of training left{', besides what cannot run' if unknown else ''}"]


def duration(seconds: float) -> str:
    """35 s, 12 min, 3.4 h, 12 days."""
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size or (unit != "days" and seconds >= size):
            return f"{seconds / size:.1f} {unit}" if seconds < 10 * size else f"{seconds / size:,.0f} {unit}"
    return f"{seconds:.0f} s"


def _step(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 10 else f"{1000 * seconds:.0f} ms"


def train_all(
    todo: Iterable[Job],
    times: dict[str, StepTime],
    limit: Limit,
    device: str | None,
    say: Callable[[str], None],
) -> int:
    """Train what this process gets hold of, one run after the other; how many failed."""
    left, failed = list(todo), 0
    while left and limit.check() != "stop":
        ready = [job for job in left if job.ready]
        if not ready:
            say(f"left out, for want of a teacher's weights: {'; '.join(job.title for job in left)}")
            break
        job = min(ready, key=lambda job: (job.seed, seconds_left(job, times) or 0.0))
        left.remove(job)
        with _alone(job) as free:
            if not free or _finished_meanwhile(job):
                continue
            at = f" from iteration {job.iterations:,}" if job.iterations else ""
            say(f"{job.title}, seed {job.seed}{at}: {job.log}")
            try:
                say(f"  {train(job, limit, device)}")
            except SdcaffeError as error:
                failed += 1
                say(f"  failed: {error}")
    return failed


@contextmanager
def _alone(job: Job) -> Iterator[bool]:
    """Whether no other process trains this run; none will while the context lasts.

    The system gives up what a dead process held.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(lock.holding(job.param.snapshot_prefix))
        except lock.Held:
            yield False
            return
        yield True


def _finished_meanwhile(job: Job) -> bool:
    """Whether another process finished the run since the jobs were listed."""
    if not job.log.exists() or (job.taught and not job.weights.exists()):
        return False
    mark_done([job], read_runs([job.log], published.load()))
    return job.done


def train(job: Job, limit: Limit, device: str | None = None) -> str:
    """Begin a run or go on from its newest whole snapshot; returns what came of it, in words."""
    devices = [device] if device else []
    (outcome,) = run(job.param, devices=devices, snapshot="auto", log=job.log, ask=limit.check)
    _tidy(job.param.snapshot_prefix, job.param.snapshot)
    if limit.reached:
        return f"stopped at iteration {outcome.iteration:,} of {outcome.max_iter:,}"
    value = accuracy(outcome.scores.get(0, {}))
    return "finished" if value is None else f"test error {100 * (1 - value):.2f} %"


def _tidy(prefix: str, interval: int) -> None:
    """Remove snapshots that stops made, but for the last: the run's own, every `interval` iterations, stay."""
    for state in newest(prefix)[1:]:
        if not interval or iteration_of(state) % interval:
            for file in (state, state.with_name(state.name.replace(".solverstate", ".caffemodel"))):
                file.unlink(missing_ok=True)
