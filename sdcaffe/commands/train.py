"""Train the networks of solver files, or go on with their runs.

Several runs take turns. What they do is `sdcaffe.run`'s business: flags in, one call, words out.
"""

from __future__ import annotations

import argparse
import os
import shlex
from argparse import Namespace
from typing import TYPE_CHECKING

from sdcaffe import flags
from sdcaffe.flags import Parser, UsageError
from sdcaffe.log import accuracy

if TYPE_CHECKING:
    from sdcaffe.run import Outcome

EXAMPLE = "sdcaffe train prototxt/quickstart/solver_self_distilled.prototxt"
_MOST_SEEDS = 10_000
# Flags of one value that one who goes on with a run gives again.
_KEPT = ("precision", "tensorboard", "device", "gpu", "level", "stage", "sigint_effect", "sighup_effect")


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
        "--set",
        action="append",
        default=[],
        type=_setting,
        metavar="FIELD=A,B",
        help="train each solver once with each of these values of a field of the solver, of LAYER.field, or of "
        "lambda, mu or temperature of a two-branch net; several --set: with each combination, which is added to "
        "the snapshot_prefix; [1,2] is one list (default: as the files say)",
    )
    parser.add_argument(
        "--seeds",
        type=_seeds,
        default=[],
        metavar="N|A,B",
        help="train each solver once with each of these random seeds, 1 to N or those listed, all at once; "
        "_seedA is added to its snapshot_prefix (default: random_seed of the solver)",
    )
    parser.add_argument(
        "--precision",
        metavar="fp32|tf32|bf16",
        help="what convolutions and products compute in (default: what the solver says)",
    )
    parser.add_argument(
        "--tensorboard",
        metavar="DIR",
        help="write losses, accuracy, learning rate, step times and test errors for TensorBoard, of each run into "
        "DIR/NAME; needs the extra tensorboard (default: nothing)",
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
    devices = flags.devices_of(args)

    from sdcaffe import run as running
    from sdcaffe.net.weights import file_names

    try:
        outcomes = running.run(
            args.file,
            devices=devices,
            precision=args.precision,
            settings=_grid(args.set),
            seeds=args.seeds,
            snapshot=args.snapshot,
            tensorboard=args.tensorboard,
            weights=file_names(args.weights),
            level=args.level,
            stages=args.stage.split(","),  # as Caffe: an empty one where there is none
            plugins=args.plugin,
            ignore_unknown=args.ignore_unknown,
            fork=args.fork,
            sigint=args.sigint_effect,
            sighup=args.sighup_effect,
        )
    except running.RunsFailed as error:
        _print(error.outcomes, args, several=True)
        raise
    _print(outcomes, args, several=len(outcomes) > 1)


def _print(outcomes: list[Outcome], args: Namespace, several: bool) -> None:
    """What a reader wants at the end of a run, on standard output; of several runs, with their names; of a sweep, a
    table.
    """
    if args.set and several and outcomes:
        from sdcaffe.run.results import table

        print("\n".join(table(outcomes)))
        stopped = sum(not outcome.finished for outcome in outcomes)
        if stopped:
            print(f"\n{stopped} of {len(outcomes)} runs were stopped; to go on:\n  {_command(args, 'auto')}")
        folders = dict.fromkeys(os.path.dirname(outcome.log) or "." for outcome in outcomes)
        print(f"\nlogs and snapshots: in {', '.join(folders)}, named by what was set")
        return
    for outcome in outcomes:
        for line in _report(outcome, args, several):
            print(f"{outcome.name}: {line}" if several else line)


def _report(outcome: Outcome, args: Namespace, several: bool) -> list[str]:
    lines = []
    for net, scores in sorted(outcome.scores.items()):
        value = accuracy(scores)
        if value is not None:
            of = f" of test net #{net}" if len(outcome.scores) > 1 else ""
            lines.append(f"test error{of}: {100 * (1 - value):.2f} %")
    if outcome.snapshot is not None:
        if not outcome.finished:
            lines.append(f"stopped at iteration {outcome.iteration} of {outcome.max_iter}; to go on:")
            lines.append(f"  {_command(args, 'auto' if several else outcome.snapshot)}")
        lines.append(f"snapshot: {outcome.snapshot}")
    if outcome.averages is not None:
        lines.append(f"averaged weights, which were tested: {outcome.averages}")
    return [*lines, f"log: {outcome.log}"]


def _setting(text: str) -> tuple[str, tuple[str, ...]]:
    """`lambda=0.5,1`: the name and its values."""
    from sdcaffe.run.sweep import values_of

    name, equals, values = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is no FIELD=A,B")
    try:
        return name, values_of(values)
    except UsageError as error:
        raise argparse.ArgumentTypeError(error.message) from None


def _grid(settings: list[tuple[str, tuple[str, ...]]]) -> dict[str, tuple[str, ...]]:
    names = [name for name, _ in settings]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"--set {name} stands there twice: give all its values at once, as {name}=1,2,3")
    return dict(settings)


def _seeds(text: str) -> list[int]:
    """`3`: 1, 2, 3; `5,7`: these."""
    parts = text.split(",")
    if not all(part.isascii() and part.isdecimal() and len(part) < 19 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number of seeds nor a list of seeds as 1,2,3")
    if len(parts) == 1:
        if int(text) > _MOST_SEEDS:
            raise argparse.ArgumentTypeError(f"{text} runs at once are more than {_MOST_SEEDS}")
        return list(range(1, flags.positive(text) + 1))
    return [int(part) for part in parts]


def _command(args: Namespace, state: str) -> str:
    """The command that goes on from `state` as this one began."""
    words = ["sdcaffe", "train", *args.file]
    parser = Parser("train", None)
    add_flags(parser)
    for name in _KEPT:
        if getattr(args, name) != parser.get_default(name):
            words += [f"--{name.replace('_', '-')}", str(getattr(args, name))]
    for name, values in args.set:
        words += ["--set", f"{name}={','.join(values)}"]
    if args.seeds:
        words += ["--seeds", ",".join(map(str, args.seeds))]
    for plugin in args.plugin:
        words += ["--plugin", plugin]
    if args.ignore_unknown:
        words.append("--ignore-unknown")
    if args.fork:
        words += ["--fork", args.fork]
    return shlex.join([*words, "--snapshot", str(state)])
