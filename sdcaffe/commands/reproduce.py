"""Train the runs of the paper's tables that no log shows finished, seed by seed; the same command goes on.

First it lists what each costs on this machine, as far as that was measured here, else by an estimate. Nets and solvers
are those of prototxt/, written here where they are absent. Logs go to reference_logs/runs, where `sdcaffe compare`
finds them, weights and snapshots to runs. Several of these commands may run at once, on a processor or a GPU each: they
share the runs out. A stop, by Ctrl-C or SIGTERM, snapshots and says how to go on.
"""

from __future__ import annotations

import argparse
import math
import shlex
from argparse import Namespace
from pathlib import Path

from sdcaffe import flags
from sdcaffe.flags import Parser, UsageError

EXAMPLE = "sdcaffe reproduce --table study --dry-run"
MEASURING = 60.0  # seconds for all nets together, and of a time limit no more than a tenth
_KEPT = ("seeds", "precision", "time_limit", "logs", "jobs", "device", "gpu")  # flags of one value


def add_flags(parser: Parser) -> None:
    parser.add_argument(
        "--table",
        action="append",
        default=[],
        choices=("1", "2", "3", "4", "5", "6", "study"),
        help="a published table, or the study for a CPU; may be given several times (default: all published)",
    )
    parser.add_argument(
        "--net",
        action="append",
        default=[],
        metavar="NETWORK",
        help="only this network, such as resnet32; may be given several times (default: all)",
    )
    parser.add_argument(
        "--seeds",
        type=flags.positive,
        metavar="N",
        help="runs of each kind (default: as many as the recipe says, 3, or 5 and 16 in the study)",
    )
    parser.add_argument(
        "--precision",
        choices=("fp32", "tf32", "bf16"),
        help="what convolutions and products compute in (default: what the solver says)",
    )
    parser.add_argument(
        "--time-limit",
        type=_seconds,
        default=math.inf,
        metavar="SECONDS",
        help="stop after so long (default: never)",
    )
    parser.add_argument(
        "--logs",
        default="reference_logs/runs",
        metavar="FOLDER",
        help="where logs are looked for and written (default reference_logs/runs)",
    )
    parser.add_argument(
        "--jobs",
        type=flags.positive,
        default=1,
        metavar="N",
        help="runs at once, each in a process of its own, as far as cores or the GPU's memory go (default 1)",
    )
    parser.add_argument(
        "--measure",
        action="store_true",
        help="measure some steps of each net that was not measured here before, for a minute at most, and remember "
        "them in runs/step_times.json",
    )
    parser.add_argument("--dry-run", action="store_true", help="list, and train nothing")
    flags.add_device_flags(parser)


def run(args: Namespace) -> None:
    device = flags.device_of(args)
    if Path(args.logs).exists() and not Path(args.logs).is_dir():
        raise UsageError(f"--logs {args.logs} is a file; it names the folder of the logs")

    import time

    import torch

    from sdcaffe import layers
    from sdcaffe.paper import published
    from sdcaffe.paper.compare import read_runs
    from sdcaffe.paper.reproduce import Limit, fitting, jobs, mark_done, plan_lines, prices, run_all
    from sdcaffe.run.progress import bar
    from sdcaffe.run.signals import SignalHandler

    end = time.monotonic() + args.time_limit
    if device is None and not torch.cuda.is_available():
        device = "cpu"  # else every solver of the paper's would warn of it
    layers.discover()
    known = published.load()
    logs = Path(args.logs)
    wanted = jobs(args.table, args.net, args.seeds, known, logs, precision=args.precision)
    mark_done(wanted, read_runs([logs], known) if logs.is_dir() else [])
    left = [job for job in wanted if not job.done]
    budget = min(MEASURING, args.time_limit / 10) if args.measure else 0.0
    with bar("nets timed") as tick:
        times = prices(left, device, budget=budget, tick=tick)
    print("\n".join(plan_lines(wanted, times)), flush=True)
    if args.dry_run:
        return
    workers = fitting(left, times, args.jobs, device) if args.jobs > 1 else 1
    with SignalHandler() as signals:
        run_all(
            wanted,
            times,
            Limit(end, signals.listener()),
            device,
            lambda text: print(text, flush=True),
            workers=workers,
            go_on=_command(args),
        )


def _command(args: Namespace) -> str:
    """The command that goes on as this one began."""
    parser = Parser("reproduce", None)
    add_flags(parser)
    words = ["sdcaffe", "reproduce"]
    words += [word for table in args.table for word in ("--table", table)]
    words += [word for net in args.net for word in ("--net", net)]
    for name in _KEPT:
        if getattr(args, name) != parser.get_default(name):
            words += [f"--{name.replace('_', '-')}", f"{getattr(args, name)}"]
    return shlex.join(words)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not seconds > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return seconds
