"""Write trained weights in another format: .caffemodel or .caffemodel.h5.

The source's format is told by its bytes, the target's by its name. Numbers are kept bit for bit.
"""

from __future__ import annotations

from argparse import Namespace

from sdcaffe.flags import Parser

EXAMPLE = "sdcaffe convert weights runs/quickstart/baseline_iter_400.caffemodel weights.caffemodel.h5"


def add_flags(parser: Parser) -> None:
    parser.add_argument("input", metavar="INPUT", help="a .caffemodel of any age or a .caffemodel.h5")
    parser.add_argument("output", metavar="OUTPUT", help="the file to write; .h5 is HDF5, any other a .caffemodel")


def run(args: Namespace) -> None:
    from converters.weights import convert

    layers = convert(args.input, args.output)
    print(f"Wrote {args.output}: {layers} layers with blobs")
