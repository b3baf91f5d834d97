"""Rows of HDF5 files named in a list, as Caffe's HDF5Data walks them. Knows nothing of images."""

from __future__ import annotations

import functools
import os
import threading
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from sdcaffe import reading
from sdcaffe.data.decode import read_bytes
from sdcaffe.data.order import FILES, ORDER, Indices, permutation
from sdcaffe.errors import DataError
from sdcaffe.proto.hdf5 import flaws, refuse_elsewhere, stored

MAX_VALUES = 2**31 - 1  # of one dataset: what a Caffe blob can hold
UNWRITTEN = 1 << 30  # bytes that a dataset may take without a number written into it: it has its fill value

Rows = tuple[NDArray[np.float32], ...]


@dataclass
class _File:
    path: str
    rows: int
    shapes: list[tuple[int, ...]]  # of one row, one a dataset


class Hdf5Rows:
    """The rows of all files that the text file `source` lists, numbered from 0 in the order of the list.

    `names` are the datasets to read, one a top. Raises DataError for a file or dataset that is missing,
    is not numbers, or has other rows than its neighbours.
    """

    def __init__(self, source: str, names: list[str]) -> None:
        self.source, self.names = source, names
        paths = _read_list(source)
        inspected = {path: self._inspect(path) for path in dict.fromkeys(paths)}
        self.files = [inspected[path] for path in paths]
        first = self.files[0]
        for file in self.files[1:]:
            for name, shape, expected in zip(names, file.shapes, first.shapes, strict=True):
                if shape != expected:
                    raise DataError(
                        f'rows of dataset "{name}" have shape {list(shape)}, but {list(expected)} in {first.path}',
                        file.path,
                    )
        self.shapes = first.shapes
        self._starts = np.cumsum([0] + [file.rows for file in self.files])
        self._load = functools.lru_cache(maxsize=2)(self._read_file)
        self._loading = threading.Lock()  # else several threads would read the same file

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def nbytes(self) -> int:
        """What all rows take in memory, as float32."""
        return len(self) * sum(int(np.prod(shape)) for shape in self.shapes) * 4

    def order(self, seed: int, epoch: int) -> Indices:
        """A shuffled epoch as in Caffe: the files in random order, and the rows of each in random order."""
        count = len(self.files)
        files = permutation(seed, epoch, count, FILES)
        rows = (
            self._starts[file] + permutation(seed, epoch * count + place, self.files[file].rows, ORDER)
            for place, file in enumerate(files)
        )
        return np.concatenate(list(rows))

    def read(self, indices: Indices) -> Rows:
        """The rows `indices`, one array (n, ...) a dataset, float32; keeps the files last read in memory."""
        of_row = np.searchsorted(self._starts, indices, side="right") - 1
        batch = tuple(np.empty((len(indices), *shape), np.float32) for shape in self.shapes)
        for number in dict.fromkeys(of_row.tolist()):
            here = of_row == number
            with self._loading:
                loaded = self._load(number)
            for out, rows in zip(batch, loaded, strict=True):
                out[here] = rows[indices[here] - self._starts[number]]
        return batch

    def read_all(self) -> Rows:
        """Every row of every file."""
        parts = [self._read_file(number) for number in range(len(self.files))]
        return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))

    def _inspect(self, path: str) -> _File:
        with flaws(path, DataError), _open(path, self.source) as file:
            datasets = [self._dataset(file, name, path) for name in self.names]
            counts = {name: dataset.shape[0] for name, dataset in zip(self.names, datasets, strict=True)}
            if len(set(counts.values())) > 1:
                shown = ", ".join(f"{name} {rows}" for name, rows in counts.items())
                raise DataError(f"datasets have different numbers of rows: {shown}", path)
            if not datasets[0].shape[0]:
                raise DataError("the datasets have no rows", path)
            return _File(path, datasets[0].shape[0], [dataset.shape[1:] for dataset in datasets])

    def _dataset(self, file: h5py.File, name: str, path: str) -> h5py.Dataset:
        dataset = _member(file, name, path)
        if not isinstance(dataset, h5py.Dataset):
            have = ", ".join(sorted(file)) or "nothing"
            raise DataError(
                f'there is no dataset "{name}"; the file holds {have}. Datasets are named as the tops', path
            )
        refuse_elsewhere(dataset, path, DataError)
        if dataset.dtype.kind not in "fiu":
            raise DataError(f'dataset "{name}" is of type {dataset.dtype}; only numbers are read', path)
        if not dataset.shape:
            raise DataError(f'dataset "{name}" is a scalar; it needs an axis of rows', path)
        if dataset.size > MAX_VALUES:
            raise DataError(
                f'dataset "{name}" has {dataset.size} values, more than {MAX_VALUES}; split it over several '
                f"files and list them in {self.source}",
                path,
            )
        room = max(UNWRITTEN, stored(dataset, os.path.getsize(path)))
        if dataset.nbytes > room:
            raise DataError(f'dataset "{name}" declares {dataset.nbytes} bytes; the file can hold {room} of it', path)
        return dataset

    def _read_file(self, number: int) -> Rows:
        known = self.files[number]
        with flaws(known.path, DataError), _open(known.path, self.source) as file:
            arrays = []
            for name, shape in zip(self.names, known.shapes, strict=True):
                dataset = self._dataset(file, name, known.path)
                if dataset.shape != (known.rows, *shape):
                    raise DataError(f'dataset "{name}" changed its shape while in use', known.path)
                arrays.append(dataset[...].astype(np.float32, copy=False))
            return tuple(arrays)


def _read_list(source: str) -> list[str]:
    try:
        paths = read_bytes(source, "the list of HDF5 files").decode("utf-8").split()
    except UnicodeDecodeError:
        raise DataError("is no list of HDF5 files; source names a text file that lists .h5 files", source) from None
    if not paths:
        raise DataError("the list names no HDF5 files", source)
    return paths


def _open(path: str, source: str) -> h5py.File:
    if not os.path.exists(path):
        here = "" if os.path.isabs(path) else f" (relative to the current directory, {os.getcwd()})"
        raise DataError(f"there is no such HDF5 file{here}; {source} lists it", path)
    reading.check(path, DataError)
    with flaws(path, DataError, "this is not an HDF5 file that can be read"):
        return h5py.File(path, "r")


def _member(file: h5py.File, name: str, path: str) -> Any:
    """What has a name, "/" and all; None where nothing has. Links that lead out of the file or nowhere are refused."""
    found: Any = file
    for part in name.strip("/").split("/"):
        link = found.get(part, getlink=True) if isinstance(found, h5py.Group) and part in found else None
        if link is None:
            return None
        if not isinstance(link, h5py.HardLink):
            raise DataError(f'"{name}" is a link, not data of this file', path)
        found = found[part]
    return found
