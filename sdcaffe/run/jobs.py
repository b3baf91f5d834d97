"""The runs that are asked for: each solver with each setting and seed, read and checked before any is started."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sdcaffe import layers, proto
from sdcaffe.errors import SolverError, UsageError
from sdcaffe.log import Progress
from sdcaffe.run import sweep
from sdcaffe.run.signals import Action, Effect
from sdcaffe.run.tensorboard import check_installed
from sdcaffe.solver import settings as checks
from sdcaffe.solver.devices import in_a_job
from sdcaffe.solver.snapshot import settle_prefix

AUTO = "auto"
_LONGEST = 200  # bytes of a run's name; a file's, with iteration and ending, has 255


MOST_RUNS = 10_000  # at once, in one process


@dataclass(frozen=True)
class Request:
    """What `run` is asked for; a solver is a path or a SolverParameter as bytes. Travels to other processes."""

    solvers: tuple[str | bytes, ...]
    devices: tuple[str, ...] = ()
    precision: str | None = None
    grid: sweep.Grid = ()
    seeds: tuple[int, ...] = ()
    snapshot: str | None = None
    weights: tuple[str, ...] = ()
    level: int | None = None
    stages: tuple[str, ...] = ()
    plugins: tuple[str, ...] = ()
    ignore_unknown: bool = False
    fork: str | None = None
    log: str | None = None
    tensorboard: str | None = None
    sigint: Effect = "stop"
    sighup: Effect = "snapshot"
    ask: Callable[[], Action | None] | None = None
    progress: Callable[[str], Progress] | None = None

    @property
    def count(self) -> int:
        return len(self.solvers) * math.prod(len(values) for _, values in self.grid) * max(1, len(self.seeds))

    def check(self) -> None:
        """Raise UsageError for what makes no sense together."""
        if not self.solvers:
            raise UsageError("there is no solver to run")
        if self.count > MOST_RUNS:
            raise UsageError(f"{self.count} runs at once are more than {MOST_RUNS}")
        if self.tensorboard is not None:
            check_installed()
        if self.snapshot is not None and self.weights:
            raise UsageError("a snapshot goes on with a run and weights start one: give one of them")
        if self.seeds and any(name == "random_seed" for name, _ in self.grid):
            raise UsageError("random_seed is set, and seeds are too: give one of them")
        if len(self.devices) > 1 and (self.ask is not None or self.progress is not None):
            raise UsageError("ask and progress stay in this process: with several devices, give neither")
        if self.count > 1 and (len(self.devices) > 1 or in_a_job()):
            raise UsageError("several runs at once share one device, in one process: name one device, or one run")
        if self.count > 1 and self.log is not None:
            raise UsageError("a log holds one run: of several, each has its own, PREFIX.log")
        if self.count > 1 and self.snapshot not in (None, AUTO):
            raise UsageError("several runs go on each from its own newest snapshot: --snapshot auto")


@dataclass
class Job:
    """One run: where its solver stands, its checked SolverParameter, what was set in it, and what is to be said of the
    snapshot_prefix."""

    where: str
    param: proto.SolverParameter
    positions: proto.Positions | None = None
    settings: sweep.Settings = ()
    settled: str | None = None
    name: str = ""
    log: str = ""


def read_jobs(request: Request) -> list[Job]:
    """Every run that is asked for. Raises SolverError for two that would write the same files."""
    layers.discover(request.plugins)
    combined = list(sweep.combinations(request.grid))
    jobs = [
        _read(request, solver, settings, seed)
        for solver in request.solvers
        for settings in combined
        for seed in request.seeds or (None,)
    ]
    firsts: dict[str, Job] = {}
    for job in jobs:
        first = firsts.setdefault(os.path.realpath(job.param.snapshot_prefix), job)
        if first is not job:
            raise SolverError(
                f'this run and one of {first.where} would write the same files, of snapshot_prefix "'
                f'{job.param.snapshot_prefix}": give each a prefix of its own',
                job.where,
            )
    short = [Path(job.param.snapshot_prefix).name for job in jobs]
    known = Counter(short)
    for job, name in zip(jobs, short, strict=True):
        job.name = name if known[name] == 1 else job.param.snapshot_prefix
        job.log = request.log or f"{job.param.snapshot_prefix}.log"
        if job.settings and len(os.fsencode(Path(job.param.snapshot_prefix).name)) > _LONGEST:
            raise UsageError(
                f"what was set makes the name of run {job.name} longer than {_LONGEST} bytes, too long for a file's: "
                "write into the solver what all runs share"
            )
    return jobs


def _read(request: Request, solver: str | bytes, settings: sweep.Settings, seed: int | None) -> Job:
    if isinstance(solver, bytes):
        job = Job("a SolverParameter", proto.SolverParameter.FromString(solver))
        if not job.param.snapshot_prefix:
            raise SolverError("it needs a snapshot_prefix: its log and its snapshots are named after it", job.where)
    else:
        job = Job(solver, *proto.read_solver_located(solver, ignore_unknown=request.ignore_unknown))
    param = job.param
    if settings:
        job.settings, job.positions = settings, None  # a line of the file would be told in vain
        sweep.apply(settings, param, ignore_unknown=request.ignore_unknown)
    if request.precision:
        param.precision = request.precision
    try:
        checks.check_training(param, job.positions)
    except SolverError as error:
        error.where = error.where or " ".join([job.where, *(f"{name}={value}" for name, value in settings)])
        raise
    if request.level is not None:
        param.train_state.level = request.level
    param.train_state.stage.extend(request.stages)
    if not isinstance(solver, bytes):
        job.settled = settle_prefix(param, Path(solver))
    param.snapshot_prefix += sweep.suffix(settings)
    if seed is not None:
        param.random_seed = seed
        param.snapshot_prefix += f"_seed{seed}"
    return job
