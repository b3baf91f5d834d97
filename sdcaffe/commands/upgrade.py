"""Write a net, solver or .caffemodel of an older Caffe in the current form.

Text and binary, nets and solvers are told apart by what the file holds.
"""

from __future__ import annotations

from argparse import Namespace

from sdcaffe import flags
from sdcaffe.flags import Parser

EXAMPLE = "sdcaffe upgrade old.prototxt net.prototxt"


def add_flags(parser: Parser) -> None:
    parser.add_argument("input", metavar="INPUT", help="a prototxt or .caffemodel of any age")
    parser.add_argument("output", metavar="OUTPUT", help="the file to write; it may be the input. - is standard output")
    flags.add_plugin_flags(parser)


def run(args: Namespace) -> None:
    from sdcaffe import layers
    from sdcaffe.converters.upgrade import upgrade

    layers.discover(args.plugin)
    with flags.whole_output(args.output) as path:
        done = upgrade(args.input, path, ignore_unknown=args.ignore_unknown)
    words = flags.beside(args.output)
    if not done.changed:
        print(f"{args.input} is in the latest form already", file=words)
    print(f"Wrote upgraded {done.message} {done.form} proto to {args.output}", file=words)
