"""CIFAR-10 and CIFAR-100 as Krizhevsky publishes them to LMDBs and a mean image, as Caffe's examples make them."""

from __future__ import annotations

import os
from contextlib import ExitStack

from sdcaffe import proto
from sdcaffe.converters.database import BATCH, new_database
from sdcaffe.converters.image_mean import mean_of, write_mean
from sdcaffe.data.cifar import read_cifar
from sdcaffe.data.source import ArraySource
from sdcaffe.errors import DataError
from sdcaffe.log import Tick, no_tick

KINDS = ("cifar10", "cifar100")


def convert(kind: str, output: str, folder: str | None = None, *, backend: str = "lmdb", tick: Tick = no_tick) -> None:
    """Make OUTPUT/KIND_train_BACKEND, OUTPUT/KIND_test_BACKEND and OUTPUT/mean.binaryproto, the mean of the first.

    `kind` is one of KINDS. The records are those of Caffe's convert_cifar_data: keys `%05d` in the order of the
    files, raw Datums of red, green, blue planes; the labels of CIFAR-100 are the fine ones. The official files, binary
    or python, are looked for as `read_cifar` does. Raises DataError for files that are missing or broken, and for a
    database that is there already. The databases are there once all is whole: a run that was killed is run again.
    """
    splits = {split: read_cifar(kind, split, folder) for split in ("train", "test")}
    paths = {split: os.path.join(output, f"{kind}_{split}_{backend}") for split in splits}
    for path in paths.values():
        if os.path.lexists(path):
            raise DataError("is there already, and a database is never written over: remove it", path)
    total, done = sum(len(labels) for _, labels in splits.values()), 0
    with ExitStack() as stack:
        for split, (images, labels) in splits.items():
            writer = stack.enter_context(new_database(paths[split], backend))
            for start in range(0, len(images), BATCH):
                some = range(start, min(start + BATCH, len(images)))
                writer.put([(b"%05d" % i, _datum(images[i].tobytes(), int(labels[i]))) for i in some])
                tick(done + writer.count, total)
            done += len(images)
        write_mean(mean_of(ArraySource(kind, *splits["train"])), os.path.join(output, "mean.binaryproto"))


def _datum(pixels: bytes, label: int) -> bytes:
    datum: bytes = proto.Datum(channels=3, height=32, width=32, data=pixels, label=label).SerializeToString()
    return datum
