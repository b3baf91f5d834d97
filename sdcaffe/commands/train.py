"""Train the networks of solver files, or go on with their runs.

Does not train: it reads the flags, opens the logs, and hands Solvers their signals. Several runs take turns.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import traceback
from argparse import Namespace
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdcaffe import flags
from sdcaffe.errors import SdcaffeError, SolverError, told
from sdcaffe.flags import Parser, UsageError
from sdcaffe.log import Progress, accuracy, glog, silent
from sdcaffe.run.progress import Screen, is_terminal, shown
from sdcaffe.run.signals import SignalHandler

EXAMPLE = "sdcaffe train prototxt/quickstart/solver_self_distilled.prototxt"
AUTO = "auto"
# Flags of one value that one who goes on with a run gives again.
_KEPT = ("precision", "device", "gpu", "level", "stage", "sigint_effect", "sighup_effect")


def add_flags(parser: Parser) -> None:
    parser.add_argument(
        "file", nargs="*", metavar="SOLVER", help="the solver's prototxt; several: train all of them at once"
    )
    parser.add_argument("--solver", metavar="SOLVER", help="the same, in Caffe's spelling (default: none)")
    parser.add_argument(
        "--snapshot",
        metavar="FILE|auto",
        help="go on from this .solverstate; auto: from the newest whole one of the solver, if there is "
        "any (default: none)",
    )
    parser.add_argument(
        "--weights",
        metavar="A,B",
        help="start from the layers of these .caffemodel files that have the same names (default: none)",
    )
    parser.add_argument(
        "--seeds",
        type=_seeds,
        default=[None],
        metavar="N|A,B",
        help="train each solver once with each of these random seeds, 1 to N or those listed, all at once; "
        "_seedA is added to its snapshot_prefix (default: random_seed of the solver)",
    )
    parser.add_argument(
        "--precision",
        metavar="fp32|tf32|bf16",
        help="what convolutions and products compute in (default: what the solver says)",
    )
    flags.add_device_flags(parser)
    flags.add_state_flags(parser)
    flags.add_plugin_flags(parser)
    effects = ("stop", "snapshot", "none")
    parser.add_argument("--sigint-effect", choices=effects, default="stop", help="what Ctrl-C does (default stop)")
    parser.add_argument(
        "--sighup-effect", choices=effects, default="snapshot", help="what SIGHUP does (default snapshot)"
    )


def run(args: Namespace) -> None:
    if bool(args.file) == bool(args.solver):
        raise UsageError("name one solver file, or several to train at once. See sdcaffe train --help")
    args.file = args.file or [args.solver]
    if args.snapshot and args.weights:
        raise UsageError("--snapshot goes on with a run and --weights starts one: give one of them")
    devices = flags.devices_of(args)

    from sdcaffe.run import launch
    from sdcaffe.solver.devices import in_a_job

    if len(args.file) * len(args.seeds) > 1:
        if len(devices) > 1 or in_a_job():
            raise UsageError("several runs at once share one device, in one process: name one device, or one run")
        if args.snapshot not in (None, AUTO):
            raise UsageError("several runs go on each from its own newest snapshot: --snapshot auto")
        _train_several(args, devices[0] if devices else None)
        return
    if len(devices) > 1:
        _read(args)  # what is wrong with it shows before any process is started
    launch.run(devices, train, args, devices)


def train(device: str | None, args: Namespace, devices: list[str]) -> None:
    """What one process of a run does: `device` is its own, `devices` are those of all processes of this machine."""
    from sdcaffe.collectives import is_root
    from sdcaffe.run import processes

    with processes.launched(device):
        with processes.failing_as_one():
            (job,) = _read(args)
        with SignalHandler(args.sigint_effect, args.sighup_effect) as signals:
            turns = _turns(job, args, signals.listener(), device, devices)
            try:
                while True:
                    next(turns)
            except StopIteration as end:
                progress, iteration = end.value
        if is_root():
            print("\n".join(_report(job, args, progress, iteration)))


def _train_several(args: Namespace, device: str | None) -> None:
    """Train all runs at once. Raises SdcaffeError at the end if any failed."""
    from sdcaffe.run.together import Run, take_turns
    from sdcaffe.solver.devices import choose_device

    jobs = _read(args)
    with silent():
        places = [choose_device(job.param, device) for job in jobs]
    screen = Screen(sys.stderr) if is_terminal(sys.stderr) else None
    failed: list[str] = []

    def tell(run: Run[_End], error: Exception) -> None:
        line = told(error)
        if line is None:
            traceback.print_exception(error)
        failed.append(run.name)
        print(f"sdcaffe: error: {run.name}: {line or type(error).__name__}", file=sys.stderr)

    with SignalHandler(args.sigint_effect, args.sighup_effect) as signals:
        runs = [
            Run(job.name, _turns(job, args, signals.listener(), device, [], job.name, screen), place)
            for job, place in zip(jobs, places, strict=True)
        ]
        take_turns(runs, tell)
    for job, each in zip(jobs, runs, strict=True):
        if job.name not in failed:
            print("\n".join(f"{job.name}: {line}" for line in _report(job, args, *each.result)))
    if failed:
        raise SdcaffeError(f"{len(failed)} of {len(runs)} runs failed, see above: {', '.join(failed)}")


@dataclass
class _Job:
    """One run: its solver file, the checked solver parameters, and what is to be said of their snapshot_prefix."""

    file: str
    param: Any
    settled: str | None
    name: str = ""

    @property
    def log(self) -> Path:
        return Path(f"{self.param.snapshot_prefix}.log")


_End = tuple[Progress, int]  # what a run reported, and the iteration it reached


def _read(args: Namespace) -> list[_Job]:
    """Every run that is asked for. Raises SolverError for two that would write the same files."""
    from sdcaffe import layers

    layers.discover(args.plugin)
    jobs = [_read_one(args, file, seed) for file in args.file for seed in args.seeds]
    firsts: dict[str, _Job] = {}
    for job in jobs:
        first = firsts.setdefault(os.path.realpath(job.param.snapshot_prefix), job)
        if first is not job:
            raise SolverError(
                f'this run and one of {first.file} would write the same files, of snapshot_prefix "'
                f'{job.param.snapshot_prefix}": give each a prefix of its own',
                job.file,
            )
    short = [Path(job.param.snapshot_prefix).name for job in jobs]
    for job, name in zip(jobs, short, strict=True):
        job.name = name if short.count(name) == 1 else job.param.snapshot_prefix
    return jobs


def _read_one(args: Namespace, file: str, seed: int | None) -> _Job:
    from sdcaffe import proto
    from sdcaffe.solver import settings
    from sdcaffe.solver.snapshot import settle_prefix

    param, positions = proto.read_solver_located(file, ignore_unknown=args.ignore_unknown)
    if args.precision:
        param.precision = args.precision
    check = settings.check_training if param.max_iter > 0 else settings.check
    check(param, positions)
    param.train_state.level = args.level
    param.train_state.stage.extend(args.stage.split(","))  # as Caffe: an empty one where there is none
    settled = settle_prefix(param, Path(file))
    if seed is not None:
        param.random_seed = seed
        param.snapshot_prefix += f"_seed{seed}"
    return _Job(file, param, settled)


def _seeds(text: str) -> list[int]:
    """`3`: 1, 2, 3; `5,7`: these."""
    parts = text.split(",")
    if not all(part.isascii() and part.isdecimal() and len(part) < 19 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number of seeds nor a list of seeds as 1,2,3")
    if len(parts) == 1:
        return list(range(1, flags.positive(text) + 1))
    return [int(part) for part in parts]


def _log(file: Path, append: bool, name: str, screen: Screen | None) -> AbstractContextManager[Progress]:
    """The log of this run; of several processes, the root's: the others' go nowhere."""
    from sdcaffe.collectives import is_root

    return shown(file, append=append, run=name, screen=screen) if is_root() else silent()


def _resumes(snapshot: str | None, prefix: str) -> bool:
    from sdcaffe.solver.snapshot import newest

    return bool(newest(prefix)) if snapshot == AUTO else bool(snapshot)


def _turns(
    job: _Job,
    args: Namespace,
    action: Callable[[], str | None],
    device: str | None,
    devices: Sequence[str],
    name: str = "",
    screen: Screen | None = None,
) -> Generator[None, None, _End]:
    """Solve bit by bit. Of several runs of this process, each has a `name`."""
    from sdcaffe.run import processes

    log = _log(job.log, _resumes(args.snapshot, job.param.snapshot_prefix), name, screen)
    with log as progress, processes.failing_as_one():
        if job.settled:
            glog("upgrade_proto.cpp:1113", job.settled)
        if device:
            names = ", ".join(each.removeprefix("cuda:") for each in (devices if devices[1:] else [device]))
            glog("caffe.cpp:197", "Use CPU." if device == "cpu" else f"Using GPUs {names}")
        iteration = yield from _solving(job.param, args, action, device, progress)
    return progress, iteration


def _solving(
    param: Any, args: Namespace, action: Callable[[], str | None], device: str | None, progress: Progress
) -> Generator[None, None, int]:
    """Solve bit by bit, and return the iteration reached."""
    from sdcaffe.net.weights import file_names
    from sdcaffe.solver import Solver
    from sdcaffe.solver.devices import choose_device

    chosen = choose_device(param, device)
    weights = file_names(args.weights) or None
    for name in weights or ():
        glog("caffe.cpp:155", f"Finetuning from {name}")
    solver = Solver(
        param,
        weights=weights,
        device=chosen,
        action=action,
        progress=progress,
        ignore_unknown=args.ignore_unknown,
    )
    try:
        if args.snapshot == AUTO:
            found = solver.restore_newest()
            glog("caffe.cpp:235", f"Resuming from {found}" if found else "No snapshot to resume from")
        elif args.snapshot:
            glog("caffe.cpp:235", f"Resuming from {args.snapshot}")
            solver.restore(args.snapshot)
        glog("caffe.cpp:239", "Starting Optimization")
        yield from solver.turns()
        glog("caffe.cpp:250", "Optimization Done.")
    finally:
        solver.close()
    return solver.iter


def _report(job: _Job, args: Namespace, progress: Progress, iteration: int) -> list[str]:
    """What a reader wants at the end of a run, on standard output."""
    lines = []
    for net, scores in sorted(progress.scores.items()):
        value = accuracy(scores)
        if value is not None:
            of = f" of test net #{net}" if len(progress.scores) > 1 else ""
            lines.append(f"test error{of}: {100 * (1 - value):.2f} %")
    if iteration < job.param.max_iter and progress.snapshot:
        lines.append(f"stopped at iteration {iteration} of {job.param.max_iter}; to go on:")
        state = AUTO if len(args.file) * len(args.seeds) > 1 else progress.snapshot
        lines.append(f"  {_command(args, state)}")
    if progress.snapshot:
        lines.append(f"snapshot: {progress.snapshot}")
    return [*lines, f"log: {job.log}"]


def _command(args: Namespace, state: str | Path) -> str:
    """The command that goes on from `state` as this one began."""
    words = ["sdcaffe", "train", *args.file]
    parser = Parser("train", None)
    add_flags(parser)
    for name in _KEPT:
        if getattr(args, name) != parser.get_default(name):
            words += [f"--{name.replace('_', '-')}", str(getattr(args, name))]
    if args.seeds != [None]:
        words += ["--seeds", ",".join(map(str, args.seeds))]
    for plugin in args.plugin:
        words += ["--plugin", plugin]
    if args.ignore_unknown:
        words.append("--ignore-unknown")
    return shlex.join([*words, "--snapshot", str(state)])
