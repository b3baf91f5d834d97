"""Plot the loss, test error, KL, MMD and learning rate of training logs."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from sdcaffe.flags import Parser, UsageError

EXAMPLE = "sdcaffe plot runs/quickstart -o curves.png"


def add_flags(parser: Parser) -> None:
    parser.add_argument(
        "logs",
        nargs="+",
        metavar="LOG|DIR",
        help="logs of sdcaffe train or of Caffe, or folders of them; those of the same settings are one curve, "
        "the mean over seeds in a band of the deviation",
    )
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="a .png, .svg or .pdf")
    parser.add_argument("--each", action="store_true", help="a curve for each log, whatever its settings are")
    parser.add_argument("--seconds", action="store_true", help="against the time of training, not iterations")


def run(args: Namespace) -> None:
    from sdcaffe import layers, proto
    from sdcaffe.log.picture import ENDINGS, plot
    from sdcaffe.paper import published
    from sdcaffe.paper.compare import read_runs
    from sdcaffe.paper.compare.curves import ALL_PANELS, curves_of, each_of

    ending = Path(args.output).suffix.removeprefix(".")
    if ending not in ENDINGS:
        raise UsageError(f"--output {args.output}: its name must end in one of .{', .'.join(ENDINGS)}")
    layers.discover()  # the fields of the self-distillation layers
    runs = read_runs(args.logs, published.load())
    title, groups = ("", each_of(runs)) if args.each else curves_of(runs)
    picture = plot(groups, ending, title=title, panels=ALL_PANELS, seconds=args.seconds)
    with proto.atomic_write(args.output) as file:
        file.write(picture)
