"""List the networks and recipes that come with sdcaffe, or write one where its paths hold."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from sdcaffe.flags import Parser

EXAMPLE = "sdcaffe zoo quickstart ."


def add_flags(parser: Parser) -> None:
    parser.add_argument(
        "network", nargs="?", metavar="NETWORK", help="quickstart, cifar100/resnet32, ...; without it, all are listed"
    )
    parser.add_argument(
        "folder",
        nargs="?",
        default=".",
        metavar="DIR",
        help="the folder to train in: the files go to DIR/prototxt/NETWORK (default: here)",
    )
    parser.add_argument("--force", action="store_true", help="overwrite files that are there and differ")


def run(args: Namespace) -> None:
    from sdcaffe.tools import zoo

    if args.network is None:
        print("\n".join(_list(zoo.networks())))
        return
    written = zoo.write(args.network, Path(args.folder), force=args.force)
    for path in written:
        print(path)
    if not written:
        print(f"all files are in {Path(args.folder) / zoo.TOP / args.network} already")


def _list(networks: dict[str, list[str]]) -> list[str]:
    from textwrap import wrap

    width = max(map(len, networks)) + 2
    lines = [f"{'network':{width}}recipes (solver_RECIPE.prototxt)"]
    for name, recipes in networks.items():
        first, *rest = wrap(", ".join(recipes), 80)
        lines += [f"{name:{width}}{first}", *(" " * width + line for line in rest)]
    return lines
