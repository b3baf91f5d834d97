"""Write the images of a database as files, a folder for each label, and a list of them.

Encoded images are written as they are, raw ones as PNG. `sdcaffe convert images --list FOLDER/list.txt` goes back.
"""

from __future__ import annotations

from argparse import Namespace

from sdcaffe import flags
from sdcaffe.flags import Parser
from sdcaffe.log import setup
from sdcaffe.run.progress import bar

EXAMPLE = "sdcaffe convert image-folder train_lmdb image_folder"


def add_flags(parser: Parser) -> None:
    parser.add_argument("database", metavar="DATABASE", help="an LMDB or LevelDB, or another source of a Data layer")
    parser.add_argument(
        "folder", type=flags.folder, metavar="FOLDER", help="the folder to make; it must not be there yet"
    )
    parser.add_argument("--backend", choices=("lmdb", "leveldb"), help="default: as the database's files say")
    parser.add_argument(
        "--channel-order",
        choices=("bgr", "rgb"),
        default="bgr",
        help="of raw pixels: bgr as convert-imageset writes them (default), rgb as CIFAR's",
    )


def run(args: Namespace) -> None:
    from sdcaffe.converters.image_folder import LIST, convert

    with setup(), bar("images") as tick:
        count = convert(args.database, args.folder, args.backend, channel_order=args.channel_order, tick=tick)
    print(f"Wrote {args.folder}: {count} images and {LIST}")
