"""Write the mean image of a database, or of a .binaryproto or .npy file, as .binaryproto or .npy.

A target whose name ends in .npy is a numpy array (channels, height, width); any other is a BlobProto.
"""

from __future__ import annotations

import os
from argparse import Namespace
from contextlib import ExitStack

from sdcaffe import flags
from sdcaffe.flags import Parser
from sdcaffe.log import setup
from sdcaffe.run.progress import bar

EXAMPLE = "sdcaffe convert mean train_lmdb mean.binaryproto mean.npy"


def add_flags(parser: Parser) -> None:
    parser.add_argument("input", metavar="INPUT", help="a source of a Data layer, or the file of a mean")
    parser.add_argument(
        "outputs", metavar="OUTPUT", nargs="+", help="the files to write; - is standard output, as a BlobProto"
    )
    parser.add_argument("--backend", choices=("lmdb", "leveldb"), help="default: as the database's files say")


def run(args: Namespace) -> None:
    from sdcaffe.converters.image_mean import image_mean, write_mean
    from sdcaffe.converters.mean_files import read_mean

    flags.check_outputs([name for name in args.outputs if name == "-"], [])
    with ExitStack() as stack, setup(), bar("images") as tick:
        is_mean = os.path.isfile(args.input)
        mean = read_mean(args.input) if is_mean else image_mean(args.input, args.backend, tick)
        write_mean(mean, *(stack.enter_context(flags.whole_output(name)) for name in args.outputs))
    shape = " x ".join(str(n) for n in mean.shape)
    print(f"Wrote {', '.join(args.outputs)}: {shape}", file=flags.beside(*args.outputs))
