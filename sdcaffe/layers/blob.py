"""Blob: numbers and their derivatives as numpy arrays, as scripts and Python layers see them. Registers no layer.

Nets that train hold torch tensors; a Blob stands only where Python code reads and writes numbers.
"""

from __future__ import annotations

import math
import operator

import numpy as np
from numpy.typing import NDArray

from sdcaffe.errors import LayerError

Floats = NDArray[np.float32]

_MOST_AXES = 32  # Caffe's own bound


class WrongKeyword(LayerError, RuntimeError):
    """A keyword where a script gives sizes; a RuntimeError, as Caffe's."""


class Blob:
    """`data` and `diff`, float32 of one shape, in flat arrays that several blobs may share.

    Both are views: writing into them writes the blob, and they last until the blob grows. Smaller shapes
    keep the memory and what stands in it, as in Caffe; a larger one brings new memory, filled with zeros.
    """

    def __init__(self, *shape: int) -> None:
        self._shape: tuple[int, ...] = ()
        self._data: Floats = np.zeros(0, np.float32)
        self._diff: Floats = np.zeros(0, np.float32)
        self.reshape(*shape)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    def count(self) -> int:
        return math.prod(self._shape)

    @property
    def data(self) -> Floats:
        return self._data[: self.count].reshape(self._shape)

    @property
    def diff(self) -> Floats:
        return self._diff[: self.count].reshape(self._shape)

    @property
    def num(self) -> int:
        return self._legacy(0)

    @property
    def channels(self) -> int:
        return self._legacy(1)

    @property
    def height(self) -> int:
        return self._legacy(2)

    @property
    def width(self) -> int:
        return self._legacy(3)

    def _legacy(self, axis: int) -> int:
        if len(self._shape) > 4:
            raise LayerError(f"num, channels, height and width are of blobs of up to 4 axes, not of {self._shape}")
        return self._shape[axis] if axis < len(self._shape) else 1

    def reshape(self, *shape: int, **wrong: object) -> None:
        """Take a new shape. Raises LayerError for a negative size, more than 32 axes, or too little memory."""
        if wrong:
            raise WrongKeyword("reshape takes the sizes of the axes and no keywords")
        sizes = tuple(operator.index(n) for n in shape)
        if len(sizes) > _MOST_AXES or any(n < 0 for n in sizes):
            raise LayerError(f"a blob cannot have the shape {sizes}")
        count = math.prod(sizes)
        try:
            data = np.zeros(count, np.float32) if count > self._data.size else self._data
            diff = np.zeros(count, np.float32) if count > self._diff.size else self._diff
        except (MemoryError, ValueError):  # numpy's word for more than an address can say
            raise LayerError(f"there is no memory for a blob of shape {sizes}: it takes {8 * count} bytes") from None
        self._shape, self._data, self._diff = sizes, data, diff

    def share_data(self, other: Blob) -> None:
        """Use the data of a blob that holds as many numbers."""
        self._check_count(other)
        self._data = other._data

    def share_diff(self, other: Blob) -> None:
        """Use the diff of a blob that holds as many numbers."""
        self._check_count(other)
        self._diff = other._diff

    def _check_count(self, other: Blob) -> None:
        if self.count != other.count:
            raise LayerError(f"blobs of shapes {self._shape} and {other.shape} cannot share memory")

    def __repr__(self) -> str:
        return f"<Blob {' x '.join(str(n) for n in self._shape) or 'of one number'}>"


class BlobVec(list[Blob]):
    """The parameter blobs of a layer."""

    def add_blob(self, *shape: int, **wrong: object) -> None:
        """Append a blob of this shape, all zeros."""
        if wrong:
            raise WrongKeyword("add_blob takes the sizes of the axes and no keywords")
        self.append(Blob(*shape))
