"""Make a database of the images and labels of MNIST's IDX files, as Caffe's convert_mnist_data.

Any IDX image set will do, such as Fashion-MNIST. Unlike Caffe's, a file that is cut short is an error.
"""

from __future__ import annotations

from argparse import Namespace

from sdcaffe.flags import Parser
from sdcaffe.log import setup
from sdcaffe.run.progress import bar

EXAMPLE = "sdcaffe convert-mnist-data train-images-idx3-ubyte train-labels-idx1-ubyte mnist_train_lmdb"


def add_flags(parser: Parser) -> None:
    add_files(parser)
    parser.add_argument("--backend", choices=("lmdb", "leveldb"), default="lmdb", help="default lmdb")


def add_files(parser: Parser) -> None:
    """The files to read and the database to write."""
    parser.add_argument("images", metavar="IMAGES", help="the IDX file of the images, not compressed")
    parser.add_argument("labels", metavar="LABELS", help="the IDX file of their labels")
    parser.add_argument("database", metavar="DB", help="the database to make; it must not be there yet")


def run(args: Namespace) -> None:
    from sdcaffe.converters.mnist import convert_mnist

    with setup(), bar("images") as tick:
        convert_mnist(args.images, args.labels, args.database, args.backend, tick=tick)
