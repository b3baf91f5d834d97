"""Train the network of a solver file, or go on with a run.

Does not train: it reads the flags, opens the log, and hands a Solver its signals.
"""

from __future__ import annotations

from argparse import Namespace
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from sdcaffe import flags
from sdcaffe.flags import Parser, UsageError
from sdcaffe.log import Progress, accuracy, glog, setup, silent
from sdcaffe.signals import SignalHandler

EXAMPLE = "sdcaffe train prototxt/quickstart/solver_self_distilled.prototxt"
AUTO = "auto"


def add_flags(parser: Parser) -> None:
    parser.add_argument("file", nargs="?", metavar="SOLVER", help="the solver's prototxt")
    parser.add_argument("--solver", metavar="SOLVER", help="the same, in Caffe's spelling")
    parser.add_argument(
        "--snapshot",
        metavar="FILE|auto",
        help="go on from this .solverstate; auto: from the newest whole one of the solver, if there is any",
    )
    parser.add_argument(
        "--weights", metavar="A,B", help="start from the layers of these .caffemodel files that have the same names"
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
        raise UsageError("name one solver file. See sdcaffe train --help")
    if args.snapshot and args.weights:
        raise UsageError("--snapshot goes on with a run and --weights starts one: give one of them")
    devices = flags.devices_of(args)

    from sdcaffe import launch

    if len(devices) > 1:
        _read(args)  # what is wrong with it shows before any process is started
    launch.run(devices, train, args, devices)


def train(device: str | None, args: Namespace, devices: list[str]) -> None:
    """What one process does: `device` is its own, `devices` are those of all processes of this machine."""
    from sdcaffe import processes

    with processes.launched(device):
        with processes.failing_as_one():
            param, settled = _read(args)
        log_file = Path(f"{param.snapshot_prefix}.log")
        log = _log(log_file, append=_resumes(args.snapshot, param.snapshot_prefix))
        with log as progress, processes.failing_as_one():
            if settled:
                glog("upgrade_proto.cpp:1113", settled)
            if device:
                names = ", ".join(name.removeprefix("cuda:") for name in (devices if devices[1:] else [device]))
                glog("caffe.cpp:197", "Use CPU." if device == "cpu" else f"Using GPUs {names}")
            iteration = _train(args, param, device, progress)
        if processes.is_root():
            _report(progress, iteration, param.max_iter, args.file or args.solver, log_file)


def _read(args: Namespace) -> tuple[Any, str | None]:
    """The checked solver parameters, and what is to be said of their snapshot_prefix."""
    from sdcaffe import layers, proto
    from sdcaffe.solver import settings
    from sdcaffe.solver.snapshot import settle_prefix

    layers.discover(args.plugin)
    file = args.file or args.solver
    param, positions = proto.read_solver_located(file, ignore_unknown=args.ignore_unknown)
    if args.precision:
        param.precision = args.precision
    settings.check(param, positions)
    param.train_state.level = args.level
    param.train_state.stage.extend(args.stage.split(","))  # as Caffe: an empty one where there is none
    return param, settle_prefix(param, Path(file))


def _log(file: Path, append: bool) -> AbstractContextManager[Progress]:
    """The log of this run; of several processes, the root's: the others' go nowhere."""
    from sdcaffe import processes

    return setup(file, append=append) if processes.is_root() else silent()


def _resumes(snapshot: str | None, prefix: str) -> bool:
    from sdcaffe.solver.snapshot import newest

    return bool(newest(prefix)) if snapshot == AUTO else bool(snapshot)


def _train(args: Namespace, param: Any, device: str | None, progress: Progress) -> int:
    """Solve, and return the iteration reached."""
    from sdcaffe.solver import Solver
    from sdcaffe.solver.solver import choose_device

    chosen = choose_device(param, device)
    weights = args.weights.split(",") if args.weights else None
    for name in weights or ():
        glog("caffe.cpp:155", f"Finetuning from {name}")
    with SignalHandler(args.sigint_effect, args.sighup_effect) as signals:
        solver = Solver(
            param,
            weights=weights,
            device=chosen,
            action=signals.check,
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
            solver.solve()
            glog("caffe.cpp:250", "Optimization Done.")
        finally:
            solver.close()
        return solver.iter


def _report(progress: Progress, iteration: int, max_iter: int, file: str, log_file: Path) -> None:
    """What a reader wants at the end of a run, on standard output."""
    for net, scores in sorted(progress.scores.items()):
        value = accuracy(scores)
        if value is not None:
            of = f" of test net #{net}" if len(progress.scores) > 1 else ""
            print(f"test error{of}: {100 * (1 - value):.2f} %")
    if iteration < max_iter and progress.snapshot:
        print(f"stopped at iteration {iteration} of {max_iter}; to go on:")
        print(f"  sdcaffe train {file} --snapshot {progress.snapshot}")
    if progress.snapshot:
        print(f"snapshot: {progress.snapshot}")
    print(f"log: {log_file}")
