"""Reads mean images from files, .npy ones mapped. Computes and writes none, and needs no torch."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdcaffe import proto, reading
from sdcaffe.errors import DataError

_NPY = b"\x93NUMPY"
_MOST_VALUES = 1 << 28  # of a mean that is read from a file: 1 GiB


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
        raise DataError(f"holds {show(mean.shape)} values; a mean image has at most {_MOST_VALUES}", path)
    if mean.ndim != 3 or not mean.size:
        raise DataError(f"a mean image has the shape channels x height x width, not {show(mean.shape)}", path)
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


def show(size: tuple[int, ...]) -> str:
    """Sizes as messages have them: `3 x 8 x 8`."""
    return " x ".join(str(n) for n in size)
