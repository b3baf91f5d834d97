"""What a net makes of its data, blob by blob into databases, as Caffe's extract_features writes them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack

import torch

from sdcaffe import proto
from sdcaffe.converters.database import BATCH, new_database
from sdcaffe.errors import DataError
from sdcaffe.log import glog
from sdcaffe.net import Net
from sdcaffe.tools.loading import choose_engine, next_batch

_MOST_AXES = 4  # a Datum has no place for more


@torch.no_grad()
def extract(
    net: Net,
    blobs: Sequence[str],
    databases: Sequence[str],
    batches: int,
    backend: str = "lmdb",
    engine: str | None = "torch",
) -> list[int]:
    """Run `batches` batches and write each item of blob i as a Datum of floats to database i; returns their numbers.

    `engine` is as `choose_engine` takes it.

    Keys are `%010d`, counted from 0. A blob (n, c, h, w) gives n Datums of c, h, w; axes that are not there are 1.
    Every database is there once all are whole. Raises DataError for a blob that the net lacks or that has no
    place in a Datum, and for a database that is there already.
    """
    if len(blobs) != len(databases):
        raise DataError(f"{len(blobs)} blobs and {len(databases)} databases; name one for each")
    for blob in blobs:
        shape = net.blob_shapes.get(blob)
        if shape is None:
            raise DataError(f'net "{net.name}" has no blob "{blob}"; it has {", ".join(net.blob_shapes)}')
        if not 1 <= len(shape) <= _MOST_AXES:
            raise DataError(f'blob "{blob}" has {len(shape)} axes; a Datum takes items of 1 to {_MOST_AXES} axes')
    choose_engine(net, engine, batches, blobs)
    counts = [0] * len(blobs)
    with ExitStack() as stack:
        writers = []
        for path in databases:
            glog("extract_features.cpp:137", f"Opening dataset {path}")
            writers.append(stack.enter_context(new_database(path, backend)))
        _say("extract_features.cpp:146", "Extracting Features")
        waiting: list[list[tuple[bytes, bytes]]] = [[] for _ in blobs]
        for _ in range(batches):
            values = net.compute(next_batch(net), keep=blobs).blobs
            for i, blob in enumerate(blobs):
                for datum in _datums(values[blob]):
                    waiting[i].append((b"%010d" % counts[i], datum))
                    counts[i] += 1
                    if counts[i] % BATCH == 0:
                        writers[i].put(waiting[i])
                        waiting[i] = []
                        _say_count(counts[i], blob)
        for i, blob in enumerate(blobs):
            if waiting[i]:
                writers[i].put(waiting[i])
                _say_count(counts[i], blob)
    _say("extract_features.cpp:185", "Successfully extracted the features!")
    return counts


def _datums(blob: torch.Tensor) -> list[bytes]:
    n, c, h, w = (*blob.shape, *(1,) * (_MOST_AXES - blob.dim()))
    rows = blob.reshape(n, c * h * w).float().cpu().tolist()
    return [proto.Datum(channels=c, height=h, width=w, float_data=row).SerializeToString() for row in rows]


def _say_count(count: int, blob: str) -> None:
    _say("extract_features.cpp:180", f"Extracted features of {count} query images for feature blob {blob}")


def _say(tag: str, message: str) -> None:
    """Caffe logs the course of an extraction as errors, so that it is seen whatever the log level."""
    glog(tag, message, logging.ERROR)
