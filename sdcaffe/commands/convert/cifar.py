"""Make LMDBs and the mean image of CIFAR-10 or CIFAR-100 from the official files, as Caffe's examples do.

The files, binary or python, are looked for in --folder, else $SDCAFFE_DATA, else data/, and fetched when absent.
"""

from __future__ import annotations

from argparse import Namespace

from sdcaffe import flags
from sdcaffe.flags import Parser
from sdcaffe.log import setup
from sdcaffe.run.progress import bar

EXAMPLE = "sdcaffe convert cifar cifar10 cifar10_databases"


def add_flags(parser: Parser) -> None:
    parser.add_argument("kind", choices=("cifar10", "cifar100"), help="which set; of cifar100 the fine labels")
    parser.add_argument(
        "output",
        type=flags.folder,
        metavar="OUTPUT",
        help="the folder for KIND_train_lmdb, KIND_test_lmdb and the mean",
    )
    parser.add_argument(
        "--folder",
        metavar="FOLDER",
        help="where the official files are (default: $SDCAFFE_DATA, or data)",
    )
    parser.add_argument("--backend", choices=("lmdb", "leveldb"), default="lmdb", help="default lmdb")


def run(args: Namespace) -> None:
    from sdcaffe.converters.cifar import convert

    with setup(), bar("images") as tick:
        convert(args.kind, args.output, args.folder, backend=args.backend, tick=tick)
    print(f"Wrote {args.output}: {args.kind}_train_{args.backend}, {args.kind}_test_{args.backend}, mean.binaryproto")
