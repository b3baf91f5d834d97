"""Show what the GPUs of this machine are and can do."""

from __future__ import annotations

from argparse import Namespace

from sdcaffe.flags import Parser, UsageError
from sdcaffe.log import setup

EXAMPLE = "sdcaffe device-query -gpu all"


def add_flags(parser: Parser) -> None:
    parser.add_argument("which", nargs="?", metavar="all|N,N", help="which GPUs (default all)")
    parser.add_argument("--gpu", metavar="all|N,N", help="the same, in Caffe's spelling (default: none)")


def run(args: Namespace) -> None:
    if args.which and args.gpu:
        raise UsageError("name the GPUs once. See sdcaffe device-query --help")
    from sdcaffe.tools.devices import query

    with setup():
        query(args.which or args.gpu or "all")
