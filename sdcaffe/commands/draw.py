"""Draw a network: as SVG, or as DOT text for graphviz."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from sdcaffe import flags
from sdcaffe.flags import Parser, UsageError

EXAMPLE = "sdcaffe draw prototxt/quickstart/deploy.prototxt -o net.svg"


def add_flags(parser: Parser) -> None:
    parser.add_argument("net", metavar="NET", help="the net's prototxt")
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="FILE",
        help="a .svg, or .dot or .gv; with graphviz .png, .pdf and others",
    )
    parser.add_argument("--rankdir", choices=("TB", "BT", "LR", "RL"), default="TB", help="where it points: default TB")
    parser.add_argument("--phase", choices=("TRAIN", "TEST", "ALL"), default="ALL", help="default ALL")
    parser.add_argument("--display-lrm", action="store_true", help="show learning rate multipliers")
    flags.add_plugin_flags(parser)


def run(args: Namespace) -> None:
    ending = Path(args.output).suffix.removeprefix(".")
    from sdcaffe import layers, proto
    from sdcaffe.tools.diagram import diagram
    from sdcaffe.tools.drawing import ENDINGS, draw

    if ending not in ENDINGS:
        raise UsageError(f"--output {args.output}: its name must end in one of .{', .'.join(ENDINGS)}")
    layers.discover(args.plugin)
    net = proto.read_net(args.net, ignore_unknown=args.ignore_unknown)
    phase = {"TRAIN": proto.TRAIN, "TEST": proto.TEST, "ALL": None}[args.phase]
    picture = draw(diagram(net, phase, lr_mult=args.display_lrm), ending, args.rankdir)
    with proto.atomic_write(args.output) as file:
        file.write(picture)
