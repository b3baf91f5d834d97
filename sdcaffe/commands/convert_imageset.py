"""Make a database (LMDB or LevelDB) of the images that a list names, as Caffe's convert_imageset.

Unlike Caffe's, an image that is missing or broken is an error, and the database is there once it is whole.
"""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from sdcaffe import flags
from sdcaffe.flags import Parser, UsageError
from sdcaffe.log import setup

if TYPE_CHECKING:
    from sdcaffe.converters.image_set import Options

EXAMPLE = "sdcaffe convert-imageset --resize_height=40 --resize_width=40 --shuffle pictures/ list.txt images_lmdb"


def add_flags(parser: Parser) -> None:
    parser.add_argument("root", metavar="ROOTFOLDER/", help="the folder that the list's paths start from")
    parser.add_argument("list", metavar="LISTFILE", help="a path, a space and a label in each line")
    parser.add_argument("database", metavar="DB_NAME", help="the database to make; it must not be there yet")
    add_jobs(parser)
    add_image_flags(parser)


def add_jobs(parser: Parser) -> None:
    """The flag that says how many decode."""
    parser.add_argument(
        "--jobs",
        "--cores",
        type=flags.positive,
        metavar="N",
        help="how many images are decoded at once (default: as many as there are cores)",
    )


def add_image_flags(parser: Parser) -> None:
    """The flags that say what becomes of the images."""
    flags.add_switch(parser, "gray", "make gray images of one channel")
    flags.add_switch(parser, "shuffle", "put the images in random order")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="decides that order (default 0)")
    parser.add_argument("--backend", choices=("lmdb", "leveldb"), default="lmdb", help="default lmdb")
    parser.add_argument(
        "--resize-width",
        type=int,
        default=0,
        metavar="N",
        help="with --resize-height: the size (default 0: as it is)",
    )
    parser.add_argument(
        "--resize-height",
        type=int,
        default=0,
        metavar="N",
        help="with --resize-width: the size (default 0: as it is)",
    )
    flags.add_switch(parser, "check-size", "demand that all images have one size")
    flags.add_switch(parser, "encoded", "store image files, not pixels")
    parser.add_argument(
        "--encode-type",
        default="",
        metavar="png|jpg|...",
        help="the type of those files (default: the file's own, else png)",
    )


def options_of(args: Namespace) -> Options:
    """What those flags say. Raises UsageError."""
    if (args.resize_height > 0) != (args.resize_width > 0):
        raise UsageError("give both --resize-height and --resize-width, or neither")
    from sdcaffe.converters.image_set import Options

    names = ("gray", "shuffle", "seed", "resize_height", "resize_width", "check_size", "encoded", "encode_type")
    return Options(**{name: getattr(args, name) for name in names})


def run(args: Namespace) -> None:
    options = options_of(args)
    from sdcaffe.converters.image_set import convert

    with setup():
        convert(args.root, args.list, args.database, args.backend, options, cores=args.jobs)
