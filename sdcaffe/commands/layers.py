"""List the layer types, or show what one of them takes, makes and can be told."""

from __future__ import annotations

from argparse import Namespace

from sdcaffe import flags
from sdcaffe.flags import Parser

EXAMPLE = "sdcaffe layers Convolution"


def add_flags(parser: Parser) -> None:
    parser.add_argument("type", nargs="?", metavar="TYPE", help="a layer type; without it, all are listed")
    parser.add_argument(
        "--forks", action="store_true", help="list the forks of Caffe that --fork of other commands takes"
    )
    flags.add_plugin_flag(parser)


def run(args: Namespace) -> None:
    from sdcaffe import layers
    from sdcaffe.tools import layer_types

    layers.discover(args.plugin)
    if args.forks:
        lines = layer_types.forks()
    else:
        lines = layer_types.description(args.type) if args.type else layer_types.overview()
    print("\n".join(lines))
