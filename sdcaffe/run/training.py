"""Runs of solvers, on one device or several, one or many at once: what the train command, reproduce and scripts call.

Does not train: it reads the solvers, opens the logs, starts the processes, tells each Solver what signals ask for, and
says how each run ended.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeAlias

from google.protobuf.message import Message

from sdcaffe import proto
from sdcaffe.collectives import is_root
from sdcaffe.errors import SdcaffeError, told
from sdcaffe.log import Progress, glog, setup, silent
from sdcaffe.proto import dialects
from sdcaffe.run import launch, processes, starter
from sdcaffe.run.jobs import AUTO, Job, Request, read_jobs
from sdcaffe.run.lock import holding
from sdcaffe.run.progress import Screen, is_terminal, shown
from sdcaffe.run.signals import Action, Effect, SignalHandler
from sdcaffe.run.sweep import grid_of
from sdcaffe.run.tensorboard import Board
from sdcaffe.run.together import Run, begin, take_turns
from sdcaffe.solver import Solver
from sdcaffe.solver.devices import choose_device, say_devices
from sdcaffe.solver.snapshot import averages_beside, clear, newest

Ask = Callable[[], Action | None]
Solvers: TypeAlias = "str | os.PathLike[str] | proto.SolverParameter"  # a path or a SolverParameter


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    - `name`: of the run, after its snapshot_prefix; `log`: its log
    - `iteration` of `max_iter` updates are done: fewer where it was stopped
    - `scores`: index of a test net -> what its last test gave, by name
    - `snapshot`: the last .solverstate it wrote, if it wrote any
    - `settings`: what a sweep set for it
    - `averages`: beside the snapshot, the averaged weights that were tested, with an ema_decay
    """

    name: str
    log: str
    iteration: int
    max_iter: int
    scores: dict[int, dict[str, float]]
    snapshot: str | None
    settings: dict[str, str] = field(default_factory=dict)
    averages: str | None = None

    @property
    def finished(self) -> bool:
        return self.iteration >= self.max_iter


class RunsFailed(SdcaffeError):
    """Some of several runs failed; `outcomes` are those of the others."""

    def __init__(self, failed: Sequence[str], outcomes: Sequence[Outcome]) -> None:
        super().__init__(f"{len(failed)} of {len(failed) + len(outcomes)} runs failed, see above: {', '.join(failed)}")
        self.outcomes = list(outcomes)


def run(
    solver: Solvers | Sequence[Solvers],
    *,
    devices: Sequence[str] = (),
    precision: str | None = None,
    settings: Mapping[str, Sequence[object]] | None = None,
    seeds: Iterable[int] = (),
    snapshot: str | os.PathLike[str] | None = None,
    weights: Sequence[str | os.PathLike[str]] = (),
    level: int | None = None,
    stages: Sequence[str] = (),
    plugins: Sequence[str] = (),
    ignore_unknown: bool = False,
    fork: str | None = None,
    log: str | os.PathLike[str] | None = None,
    tensorboard: str | os.PathLike[str] | None = None,
    sigint: Effect = "stop",
    sighup: Effect = "snapshot",
    ask: Ask | None = None,
    progress: Callable[[str], Progress] | None = None,
) -> list[Outcome]:
    """Train what one or several solvers describe, to the end or until a stop is asked for; how each run ended.

    - `solver`: paths of prototxts, or SolverParameters, which need a snapshot_prefix
    - `devices`: `cpu`, `cuda` or `cuda:N`; none: what the solver says. Several: a process each, which train one run
      together; a script that names several keeps its own work under `if __name__ == "__main__":`
    - `precision`: fp32, tf32 or bf16, in place of the solver's
    - `settings`: a run with each combination of values: of a solver's field, `LAYER.field`, or `lambda` and the like
    - `seeds`: a run with each random_seed, `_seedN` added to its prefix; several take turns and end as each would alone
    - `snapshot`: go on from this .solverstate; `auto`: from the newest whole one of the prefix, if there is any
    - `weights`: .caffemodel files to start from, in place of the solver's; `level`, `stages`: the state of its nets
    - `plugins`: files or modules to load first; `ignore_unknown`: skip fields of other Caffes; `fork`: see `read_net`
    - `log`: where one run's log goes, None: to PREFIX.log; `tensorboard`: a folder with one for each run's events
    - `sigint`, `sighup`: what these do in the main thread: `stop`, `snapshot` or `none`; a second SIGINT ends at once
    - `ask`: asked each iteration in place of signals: None, `snapshot` or `stop`; `progress`: what a run reports to

    Of torchrun's processes the root has the outcome. Raises UsageError for arguments that do not go together,
    RunsFailed where some of several runs failed, and what reading and training raise.
    """
    request = Request(
        _sources(solver),
        devices=tuple(devices),
        precision=precision,
        grid=grid_of(settings or {}),
        seeds=tuple(seeds),
        snapshot=_path(snapshot),
        weights=tuple(os.fspath(path) for path in weights),
        level=level,
        stages=tuple(stages),
        plugins=tuple(plugins),
        ignore_unknown=ignore_unknown,
        fork=fork,
        log=_path(log),
        tensorboard=_path(tensorboard),
        sigint=sigint,
        sighup=sighup,
        ask=ask,
        progress=progress,
    )
    return _ended(request)


def _ended(request: Request) -> list[Outcome]:
    """The runs that it asks for, to their end."""
    request.check()
    with dialects.read_as(request.fork):
        return _several(request) if request.count > 1 else _alone(request)


def _sources(solver: Solvers | Sequence[Solvers]) -> tuple[str | bytes, ...]:
    given: list[Solvers] = [solver] if isinstance(solver, (str, os.PathLike, Message)) else list(solver)
    return tuple(one.SerializeToString() if isinstance(one, Message) else os.fspath(one) for one in given)


def _path(path: str | os.PathLike[str] | None) -> str | None:
    return None if path is None else os.fspath(path)


def _alone(request: Request) -> list[Outcome]:
    """One run, in this process or in one for each device."""
    if len(request.devices) > 1:
        read_jobs(request)  # what is wrong with it shows before any process is started
    text = launch.run(list(request.devices), _one, request)
    return [_outcome(text)] if text else []


def _one(device: str | None, request: Request) -> str | None:
    """What one process of a run does on its own `device`; the root says how it ended."""
    with dialects.read_as(request.fork), processes.launched(device):
        with processes.failing_as_one():
            (job,) = read_jobs(request)
        with _asking(request) as asks:
            turns = _turns(job, request, asks(), device)
            try:
                while True:
                    next(turns)
            except StopIteration as end:
                outcome: Outcome = end.value
        return json.dumps(asdict(outcome)) if is_root() else None


def _outcome(text: str) -> Outcome:
    read = Outcome(**json.loads(text))
    return Outcome(**{**asdict(read), "scores": {int(net): scores for net, scores in read.scores.items()}})


def _several(request: Request) -> list[Outcome]:
    """All runs, taking turns on one device. One that fails is told when it does."""
    jobs = read_jobs(request)
    device = request.devices[0] if request.devices else None
    with silent():
        places = [choose_device(job.param, device) for job in jobs]
    screen = Screen(sys.stderr) if is_terminal(sys.stderr) and request.progress is None else None
    failed: list[str] = []

    def tell(run: Run[Outcome], error: Exception) -> None:
        line = told(error)
        if line is None:
            traceback.print_exception(error)
        failed.append(run.name)
        print(f"sdcaffe: error: {run.name}: {line or type(error).__name__}", file=sys.stderr)

    with _asking(request) as asks:
        runs = [
            Run(job.name, _turns(job, request, asks(), device, job.name, screen), place)
            for job, place in zip(jobs, places, strict=True)
        ]
        if any(job.settings for job in jobs):
            begin(runs)  # of a sweep none is trained before all are made
        take_turns(runs, tell)
    outcomes = [run.result for run in runs if run.name not in failed]
    if failed:
        raise RunsFailed(failed, outcomes)
    return outcomes


@contextmanager
def _asking(request: Request) -> Iterator[Callable[[], Ask]]:
    """Makes what each run asks once an iteration."""
    if request.ask is not None:
        ask = request.ask
        yield lambda: ask
    elif threading.current_thread() is not threading.main_thread():
        yield lambda: starter.asked
    else:
        with SignalHandler(request.sigint, request.sighup) as signals:

            def listener() -> Ask:
                heard = signals.listener()
                return lambda: heard() or starter.asked()

            yield listener


def _turns(
    job: Job, request: Request, ask: Ask, device: str | None, name: str = "", screen: Screen | None = None
) -> Generator[None, None, Outcome]:
    """Solve bit by bit. Of several runs of this process, each has a `name`."""
    with ExitStack() as stack:
        with processes.failing_as_one():
            if is_root():
                stack.enter_context(holding(job.param.snapshot_prefix))
                clear(job.param.snapshot_prefix)
        progress = stack.enter_context(_log(job, request, name, screen))
        if request.tensorboard is not None and is_root():
            progress = stack.enter_context(closing(Board(progress, Path(request.tensorboard) / job.name)))
        stack.enter_context(processes.failing_as_one())
        if job.settled:
            glog("upgrade_proto.cpp:1113", job.settled)
        if device:
            say_devices(request.devices if request.devices[1:] else [device])
        iteration = yield from _solve(job, request, ask, device, progress)
    state = None if progress.snapshot is None else str(progress.snapshot)
    averages = None if state is None or not job.param.ema_decay else str(averages_beside(state))
    scores, settings = progress.scores, dict(job.settings)
    return Outcome(job.name, job.log, iteration, job.param.max_iter, scores, state, settings, averages)


def _log(job: Job, request: Request, name: str, screen: Screen | None) -> AbstractContextManager[Progress]:
    """The log of a run; of several processes, the root's: the others' go nowhere."""
    if not is_root():
        return silent()
    append = bool(newest(job.param.snapshot_prefix)) if request.snapshot == AUTO else request.snapshot is not None
    if request.progress is not None:
        return setup(job.log, append=append, run=name, progress=request.progress(job.name))
    return shown(job.log, append=append, run=name, screen=screen)


def _solve(job: Job, request: Request, ask: Ask, device: str | None, progress: Progress) -> Generator[None, None, int]:
    """Solve bit by bit, and return the iteration reached."""
    chosen = choose_device(job.param, device)
    for name in request.weights:
        glog("caffe.cpp:155", f"Finetuning from {name}")
    solver = Solver(
        job.param,
        weights=request.weights or None,
        device=chosen,
        action=ask,
        progress=progress,
        ignore_unknown=request.ignore_unknown,
        positions=job.positions,
    )
    try:
        if request.snapshot == AUTO:
            found = solver.restore_newest()
            glog("caffe.cpp:235", f"Resuming from {found}" if found else "No snapshot to resume from")
        elif request.snapshot is not None:
            glog("caffe.cpp:235", f"Resuming from {request.snapshot}")
            solver.restore(request.snapshot)
        yield  # of several runs, each is made before any is trained
        glog("caffe.cpp:239", "Starting Optimization")
        yield from solver.turns()
        glog("caffe.cpp:250", "Optimization Done.")
    finally:
        solver.close()
    return solver.iter
