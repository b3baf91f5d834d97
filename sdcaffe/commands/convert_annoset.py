"""Make a database of pictures with labelled boxes for AnnotatedData, as SSD's convert_annoset.

Unlike the fork's tool, a picture that is missing or broken is an error, and the database is there once it is whole.
"""

from __future__ import annotations

from argparse import Namespace

from sdcaffe import flags
from sdcaffe.commands import convert_imageset
from sdcaffe.flags import Parser, UsageError
from sdcaffe.log import setup

EXAMPLE = "sdcaffe convert-annoset --anno_type=detection --label_map_file=map.prototxt pictures/ boxes.txt boxes_lmdb"


def add_flags(parser: Parser) -> None:
    parser.add_argument("root", metavar="ROOTFOLDER/", help="the folder that the list's paths start from")
    parser.add_argument("list", metavar="LISTFILE", help="a picture and its annotations, or label, in each line")
    parser.add_argument("database", metavar="DB_NAME", help="the database to make; it must not be there yet")
    convert_imageset.add_image_flags(parser)
    parser.add_argument(
        "--anno-type",
        choices=("classification", "detection"),
        default="classification",
        help="whether the list's second words are labels or files of boxes (default classification)",
    )
    parser.add_argument(
        "--label-type",
        choices=("xml", "json", "txt"),
        default="xml",
        help="the kind of those files (default xml: VOC's)",
    )
    parser.add_argument(
        "--label-map-file", default="", metavar="FILE", help="names and labels, a LabelMap prototxt (default: none)"
    )
    flags.add_switch(parser, "check-label", "demand that no name stands twice in the label map")
    parser.add_argument(
        "--min-dim",
        type=int,
        default=0,
        metavar="N",
        help="make the shorter side at least so long, in proportion (default: as it is)",
    )
    parser.add_argument(
        "--max-dim",
        type=int,
        default=0,
        metavar="N",
        help="make the longer side at most so long, in proportion (default: as it is)",
    )


def run(args: Namespace) -> None:
    if args.anno_type == "detection" and not args.label_map_file:
        raise UsageError("--anno-type=detection needs a --label-map-file")
    if (args.resize_height > 0) != (args.resize_width > 0):
        raise UsageError("give both --resize-height and --resize-width, or neither")
    from dataclasses import fields

    import sdcaffe
    from sdcaffe.forks.ssd.annoset import Options, convert

    sdcaffe.discover()
    options = Options(**{field.name: getattr(args, field.name) for field in fields(Options)})
    with setup():
        convert(args.root, args.list, args.database, options)
