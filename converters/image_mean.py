"""The mean image of a data set, as Caffe's compute_image_mean computes and writes it."""

from __future__ import annotations

import io
import os
import warnings
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdcaffe import proto, reading
from sdcaffe.data.opening import open_source
from sdcaffe.data.source import Source
from sdcaffe.errors import DataError
from sdcaffe.log import Tick, glog, no_tick, number

_REPORT = 10000  # images between two lines of the log
_NPY = b"\x93NUMPY"
_MOST_VALUES = 1 << 28  # of a mean that is read from a file: 1 GiB


def image_mean(database: str, backend: str | None = None, tick: Tick = no_tick) -> NDArray[np.float32]:
    """The mean (C, H, W) of all images.

    `database` is whatever a Data layer's source may be; `backend` lmdb or leveldb, None: as its files say.
    Sums are float32 and in the order of the keys, as Caffe's, so the numbers are Caffe's for sets of any size.
    Raises DataError for images of several sizes.
    """
    source = open_source(database, (backend or backend_of(database)).upper())
    try:
        if source.encoded:
            glog("compute_image_mean.cpp:69", "Decoding Datum")
        glog("compute_image_mean.cpp:77", "Starting iteration")
        return mean_of(source, tick)
    finally:
        source.close()


def mean_of(source: Source, tick: Tick = no_tick) -> NDArray[np.float32]:
    """The mean (C, H, W) of the images of an open source, as `image_mean`."""
    mean: NDArray[np.float32] = _sum(source, tick) / np.float32(len(source))
    return mean


def read_mean(path: str) -> NDArray[np.float32]:
    """The mean (C, H, W) that a file holds: an array of numbers where PATH ends in .npy, else a BlobProto.

    Axes of length 1 before the three are dropped. Raises SdcaffeError for any other file; an .npy is mapped, not read,
    until its length is known to be what it says, and no object in it is made.
    """
    if not path.endswith(".npy"):
        mean = np.asarray(proto.read_blob(path), np.float32)
    else:
        mean = read_npy(path)
    while mean.ndim > 3 and mean.shape[0] == 1:
        mean = mean[0]
    if mean.size > _MOST_VALUES:
        raise DataError(f"holds {_show(mean.shape)} values; a mean image has at most {_MOST_VALUES}", path)
    if mean.ndim != 3 or not mean.size:
        raise DataError(f"a mean image has the shape channels x height x width, not {_show(mean.shape)}", path)
    return np.array(mean, np.float32)


def read_npy(path: str) -> NDArray[Any]:
    """The array of numbers that an .npy file holds, mapped from it. Raises DataError for any other file."""
    with reading.opened(path) as file:
        if file.read(len(_NPY)) != _NPY:
            raise DataError("is no array of numbers: it does not begin as an .npy file", path)
    try:
        with warnings.catch_warnings(action="ignore"):  # of headers that Python 2 wrote
            array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a header is Python's text, and numpy's reader of it raises whatever it meets
        raise DataError("is no array of numbers: its header is damaged, or it is cut short", path) from error
    if array.dtype.kind not in "fiu":
        raise DataError(f"is no array of numbers: it holds {array.dtype}", path)
    return array


def log_channels(mean: NDArray[np.float32]) -> None:
    """Log the mean of each channel of a mean image (C, H, W), as Caffe adds it up."""
    glog("compute_image_mean.cpp:114", f"Number of channels: {len(mean)}")
    for c, plane in enumerate(mean):
        total = np.add.accumulate(plane.ravel())[-1]
        glog("compute_image_mean.cpp:119", f"mean_value channel [{c}]: {number(float(total / np.float32(plane.size)))}")


def write_mean(mean: NDArray[np.float32], *paths: str) -> None:
    """Write (C, H, W) as a BlobProto of shape 1, C, H, W, byte for byte as Caffe; as it is where a path ends in .npy.

    All files are written or none. Raises SdcaffeError where one cannot be.
    """
    with ExitStack() as stack:
        for path in paths:
            glog("compute_image_mean.cpp:108", f"Write to {path}")
            stack.enter_context(proto.atomic_write(path)).write(_packed(mean, path))


def _packed(mean: NDArray[np.float32], path: str) -> bytes:
    if path.endswith(".npy"):
        buffer = io.BytesIO()
        np.save(buffer, mean, allow_pickle=False)
        return buffer.getvalue()
    channels, height, width = mean.shape
    blob = proto.BlobProto(num=1, channels=channels, height=height, width=width, data=mean.ravel().tolist())
    data: bytes = blob.SerializeToString()
    return data


def _sum(source: Source, tick: Tick) -> NDArray[np.float32]:
    first = source.read(0)[0].shape
    total = np.zeros(first, np.float32)
    for i in range(len(source)):
        image = source.read(i)[0]
        if image.shape != first:
            raise DataError(
                f"{source.name(i)} is {_show(image.shape)} but {source.name(0)} is {_show(first)} "
                "(channels x height x width); a mean needs images of one size",
                source.where,
            )
        total += image
        if (i + 1) % _REPORT == 0 or i + 1 == len(source):
            glog("compute_image_mean.cpp:101", f"Processed {i + 1} files.")
        tick(i + 1, len(source))
    return total


def backend_of(database: str) -> str:
    return "leveldb" if os.path.exists(os.path.join(database, "CURRENT")) else "lmdb"


def _show(size: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in size)
