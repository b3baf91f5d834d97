"""Compute the mean image of a database, and the mean of each channel."""

from __future__ import annotations

from argparse import Namespace

from sdcaffe.flags import Parser
from sdcaffe.log import setup

EXAMPLE = "sdcaffe compute-image-mean train_lmdb mean.binaryproto"


def add_flags(parser: Parser) -> None:
    parser.add_argument("database", metavar="INPUT_DB", help="an LMDB or LevelDB, or another source of a Data layer")
    parser.add_argument(
        "output",
        nargs="?",
        metavar="OUTPUT_FILE",
        help="where to write the mean: a .binaryproto, or .npy for numpy",
    )
    parser.add_argument("--backend", choices=("lmdb", "leveldb"), help="default: as the database's files say")


def run(args: Namespace) -> None:
    from sdcaffe.converters.image_mean import image_mean, log_channels, write_mean

    with setup():
        mean = image_mean(args.database, args.backend)
        if args.output:
            write_mean(mean, args.output)
        log_channels(mean)
