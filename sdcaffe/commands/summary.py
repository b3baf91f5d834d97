"""Show the layers of a network with their shapes, parameters, multiply-adds and memory, and the totals."""

from __future__ import annotations

from argparse import Namespace

from sdcaffe import flags
from sdcaffe.flags import Parser

EXAMPLE = "sdcaffe summary prototxt/cifar100/resnet32/deploy.prototxt"


def add_flags(parser: Parser) -> None:
    parser.add_argument("net", metavar="NET", help="the net's prototxt; the data that its layers name must be there")
    parser.add_argument("--phase", choices=("TRAIN", "TEST"), default="TEST", help="the net's phase (default TEST)")
    flags.add_state_flags(parser)
    flags.add_plugin_flags(parser)


def run(args: Namespace) -> None:
    from sdcaffe import layers, proto
    from sdcaffe.tools.costs import costs, lines
    from sdcaffe.tools.loading import open_net

    layers.discover(args.plugin)
    phase = proto.TRAIN if args.phase == "TRAIN" else proto.TEST
    stages = [stage for stage in args.stage.split(",") if stage]
    net = open_net(args.net, phase, level=args.level, stages=stages, ignore_unknown=args.ignore_unknown)
    try:
        print("\n".join(lines(costs(net))))
    finally:
        net.close()
