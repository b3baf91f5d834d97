"""Plot the loss, test error and learning rate of one or more training logs."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from sdcaffe.flags import Parser, UsageError

EXAMPLE = "sdcaffe plot runs/quickstart/baseline.log -o curves.png"


def add_flags(parser: Parser) -> None:
    parser.add_argument("logs", nargs="+", metavar="LOG", help="logs of sdcaffe train or of Caffe")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="a .png, .svg or .pdf")
    parser.add_argument("--seconds", action="store_true", help="against the time of training, not iterations")


def run(args: Namespace) -> None:
    from sdcaffe import proto
    from sdcaffe.log import parse_log
    from sdcaffe.log.curves import ENDINGS, plot, short_names

    ending = Path(args.output).suffix.removeprefix(".")
    if ending not in ENDINGS:
        raise UsageError(f"--output {args.output}: its name must end in one of .{', .'.join(ENDINGS)}")
    runs = []
    for log, name in zip(args.logs, short_names(args.logs), strict=True):
        found = parse_log(Path(log))
        runs.append((f"{found.net}, {name}" if found.net else name, found))
    picture = plot(runs, ending, seconds=args.seconds)
    with proto.atomic_write(args.output) as file:
        file.write(picture)
