"""Weights of a DenseNet between DenseBlock layers and the same layers written out, either way.

The net says which form the new file has.
"""

from __future__ import annotations

from argparse import Namespace

from sdcaffe import flags
from sdcaffe.flags import Parser

EXAMPLE = "sdcaffe convert dense-blocks written_out.caffemodel blocks.prototxt blocks.caffemodel"


def add_flags(parser: Parser) -> None:
    parser.add_argument("weights", metavar="WEIGHTS", help="a .caffemodel or .caffemodel.h5")
    parser.add_argument("net", metavar="NET", help="the prototxt that the new file is for")
    parser.add_argument("output", metavar="FILE", help="the .caffemodel to write; - is standard output")
    flags.add_plugin_flags(parser)


def run(args: Namespace) -> None:
    from sdcaffe import layers
    from sdcaffe.paper.dense_blocks import convert
    from sdcaffe.run.progress import bar

    layers.discover(args.plugin)
    with flags.whole_output(args.output, "net.caffemodel") as path, bar("read and written") as tick:
        count = convert(args.weights, args.net, path, ignore_unknown=args.ignore_unknown, tick=tick)
    print(f"Wrote {args.output}: {count} layers with blobs", file=flags.beside(args.output))
