"""Make a database of a folder of images, a class in each subfolder, or of a list of images.

An LMDB that was interrupted is gone on with by the same command, and its bytes are the same whatever --jobs is.
"""

from __future__ import annotations

from argparse import Namespace

from sdcaffe import flags
from sdcaffe.commands.convert_imageset import add_image_flags, add_jobs, options_of
from sdcaffe.flags import Parser
from sdcaffe.log import setup
from sdcaffe.run.progress import bar

EXAMPLE = "sdcaffe convert images pictures images_lmdb --list list.txt --resize-width 40 --resize-height 40 --shuffle"


def add_flags(parser: Parser) -> None:
    parser.add_argument("folder", metavar="FOLDER", help="the folder of the images; labels are its subfolders' places")
    parser.add_argument(
        "database", type=flags.folder, metavar="DATABASE", help="the database to make; it must not be there yet"
    )
    parser.add_argument(
        "--list",
        metavar="FILE",
        help="a path in FOLDER, a space and a label in each line (default: a class for each folder)",
    )
    add_jobs(parser)
    add_image_flags(parser)


def run(args: Namespace) -> None:
    options = options_of(args)
    from sdcaffe.converters.image_set import convert, convert_folder

    with setup(), bar("images") as tick:
        if args.list:
            count = convert(args.folder, args.list, args.database, args.backend, options, cores=args.jobs, tick=tick)
        else:
            count = convert_folder(args.folder, args.database, args.backend, options, cores=args.jobs, tick=tick)
    print(f"Wrote {args.database}: {count} images")
