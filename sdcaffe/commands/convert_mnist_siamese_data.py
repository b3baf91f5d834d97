"""Make a LevelDB of pairs of the images in MNIST's IDX files, as Caffe's convert_mnist_siamese_data.

A record is two images drawn at random, and whether their labels are equal.
"""

from __future__ import annotations

from argparse import Namespace

from sdcaffe.commands.convert_mnist_data import add_files
from sdcaffe.flags import Parser
from sdcaffe.log import setup
from sdcaffe.run.progress import bar

EXAMPLE = (
    "sdcaffe convert-mnist-siamese-data train-images-idx3-ubyte train-labels-idx1-ubyte mnist_siamese_train_leveldb"
)


def add_flags(parser: Parser) -> None:
    add_files(parser)
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="decides the pairs (default 0)")


def run(args: Namespace) -> None:
    from sdcaffe.converters.mnist import convert_mnist_pairs

    with setup(), bar("pairs") as tick:
        convert_mnist_pairs(args.images, args.labels, args.database, seed=args.seed, tick=tick)
