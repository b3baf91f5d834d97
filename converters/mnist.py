"""Images and labels in IDX files, as MNIST comes, to databases as Caffe's two tools for them make them."""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sdcaffe import proto, reading
from sdcaffe.converters.database import BATCH, new_database
from sdcaffe.data.order import DRAWS, random_draws
from sdcaffe.errors import DataError
from sdcaffe.log import Tick, glog, no_tick

_IMAGES, _LABELS = 2051, 2049  # magic numbers: bytes on three axes, and on one
_GZIP = b"\x1f\x8b"
_MOST_PIXELS = 1 << 26  # of one image

Bytes = NDArray[np.uint8]


def convert_mnist(images: str, labels: str, database: str, backend: str = "lmdb", *, tick: Tick = no_tick) -> int:
    """Make `database` from two IDX files; returns the number of its records, whose keys are `%08d`.

    Each is a Datum of one channel. Raises DataError, and leaves no database, for files that are no IDX files of as
    many images as labels, and for one that is cut short, which Caffe does not notice. A label is 0 to 255; Caffe's
    becomes negative from 128 on where its compiler's char is signed.
    """
    pixels, given = read_idx(images, _IMAGES), read_idx(labels, _LABELS)
    _describe(pixels, given, images, labels, "convert_mnist_data.cpp:88")

    def record(i: int) -> bytes:
        return _datum(pixels[i : i + 1], int(given[i]))

    count = _write(database, backend, len(pixels), record, tick)
    glog("convert_mnist_data.cpp:108", f"Processed {count} files.")
    return count


def convert_mnist_pairs(images: str, labels: str, database: str, *, seed: int = 0, tick: Tick = no_tick) -> int:
    """Make a LevelDB of as many pairs as there are images; returns their number.

    A record is two images, drawn with replacement as `seed` says, as two channels, and label 1 where their labels
    are equal and 0 where they are not. Raises as `convert_mnist`.
    """
    pixels, given = read_idx(images, _IMAGES), read_idx(labels, _LABELS)
    _describe(pixels, given, images, labels, "convert_mnist_siamese_data.cpp:85")
    count = len(pixels)
    pairs = random_draws(seed, DRAWS, 0, 2 * count).reshape(count, 2) % max(count, 1)

    def record(i: int) -> bytes:
        first, second = (int(n) for n in pairs[i])
        return _datum(pixels[[first, second]], int(given[first] == given[second]))

    return _write(database, "leveldb", count, record, tick)


def read_idx(path: str, magic: int) -> Bytes:
    """The bytes of an IDX file, (n, rows, columns) or (n,), mapped from the file.

    Raises DataError for another magic number than `magic`, and for fewer bytes than its head promises.
    """
    what = {_IMAGES: "images", _LABELS: "labels"}[magic]
    axes = magic & 255
    with reading.opened(path, DataError, f"the {what}") as file:
        head = file.read(4 + 4 * axes)
        size = os.fstat(file.fileno()).st_size
    if head.startswith(_GZIP):
        raise DataError(f"is compressed; gunzip it first, then it holds {what}", path)
    if len(head) >= 4 and head[:4] != struct.pack(">I", magic):
        found = struct.unpack(">I", head[:4])[0]
        swapped = {_IMAGES: " (images)", _LABELS: " (labels)"}.get(found, "")
        raise DataError(f"an IDX file of {what} begins with the number {magic}, not {found}{swapped}", path)
    if len(head) < 4 + 4 * axes:
        raise DataError(f"is cut short: it has {len(head)} bytes and no whole head of an IDX file", path)
    shape = struct.unpack(f">{axes}I", head[4:])
    need = len(head) + math.prod(shape)
    if size < need:
        raise DataError(f"is cut short: {' x '.join(map(str, shape))} bytes and a head are {need}, it has {size}", path)
    if not math.prod(shape):
        return np.zeros(shape, np.uint8)
    return np.memmap(path, np.uint8, "r", len(head), shape)


def _describe(pixels: Bytes, given: Bytes, images: str, labels: str, tag: str) -> None:
    """Log what there is. Raises DataError where there are not as many labels as images, or the images are none."""
    count, rows, columns = pixels.shape
    if len(given) != count:
        raise DataError(f"holds {len(given)} labels for the {count} images of {images}", labels)
    if count and not 0 < rows * columns <= _MOST_PIXELS:
        raise DataError(f"holds images of {rows} x {columns} pixels", images)
    file, _, line = tag.partition(":")
    glog(tag, f"A total of {count} items.")
    glog(f"{file}:{int(line) + 1}", f"Rows: {rows} Cols: {columns}")


def _datum(pixels: Bytes, label: int) -> bytes:
    """A Datum of planes (channels, rows, columns), as bytes."""
    channels, height, width = pixels.shape
    datum = proto.Datum(channels=channels, height=height, width=width, data=pixels.tobytes(), label=label)
    return bytes(datum.SerializeToString())


def _write(database: str, backend: str, count: int, record: Callable[[int], bytes], tick: Tick) -> int:
    with new_database(database, backend) as writer:
        for start in range(0, count, BATCH):
            numbers = range(start, min(start + BATCH, count))
            writer.put([(f"{i:08d}".encode(), record(i)) for i in numbers])
            tick(writer.count, count)
    return count
