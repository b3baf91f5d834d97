"""Train the runs of the paper's tables that no log shows finished, seed by seed; the same command goes on.

First it lists what each costs on this machine. Nets and solvers are those of prototxt/, written here where they are
absent. Logs go to reference_logs/runs, where `sdcaffe compare` finds them, weights and snapshots to runs. Several of
these commands may run at once, on a processor or a GPU each: they share the runs out.
"""

from __future__ import annotations

import argparse
import math
from argparse import Namespace
from pathlib import Path

from sdcaffe import flags
from sdcaffe.flags import Parser, UsageError

EXAMPLE = "sdcaffe reproduce --table study --dry-run"
MEASURING = 60.0  # seconds for all nets together, and of a time limit no more than a tenth


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
    from sdcaffe.paper.reproduce import Limit, jobs, mark_done, plan_lines, run_all
    from sdcaffe.run.progress import bar
    from sdcaffe.run.signals import SignalHandler
    from sdcaffe.tools.step_times import step_times

    end = time.monotonic() + args.time_limit
    if device is None and not torch.cuda.is_available():
        device = "cpu"  # else every solver of the paper's would warn of it
    layers.discover()
    known = published.load()
    logs = Path(args.logs)
    wanted = jobs(args.table, args.net, args.seeds, known, logs, precision=args.precision)
    mark_done(wanted, read_runs([logs], known) if logs.is_dir() else [])
    left = [job.param for job in wanted if not job.done]
    with bar("nets timed") as tick:
        times = step_times(left, min(MEASURING, args.time_limit / 10), device, tick=tick)
    print("\n".join(plan_lines(wanted, times)), flush=True)
    if args.dry_run:
        return
    with SignalHandler() as signals:
        run_all(wanted, times, Limit(end, signals.listener()), device, lambda text: print(text, flush=True))


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not seconds > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return seconds
