"""The mean image of a data set, as Caffe's compute_image_mean computes and writes it."""

from __future__ import annotations

import io
import os
from contextlib import ExitStack

import numpy as np
from numpy.typing import NDArray

from sdcaffe import proto
from sdcaffe.converters.mean_files import show
from sdcaffe.data.opening import open_source
from sdcaffe.data.source import Source
from sdcaffe.errors import DataError
from sdcaffe.log import Tick, glog, no_tick, number

_REPORT = 10000  # images between two lines of the log


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
                f"{source.name(i)} is {show(image.shape)} but {source.name(0)} is {show(first)} "
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
