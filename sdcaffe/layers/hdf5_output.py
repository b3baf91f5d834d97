"""HDF5Output: writes its two bottoms to the datasets `data` and `label` of an HDF5 file."""

from __future__ import annotations

import os
import weakref
from contextlib import ExitStack

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.errors import DataError
from sdcaffe.layers.base import Layer, Shape, register, show_shape
from sdcaffe.log import glog
from sdcaffe.writing import temporary_file

DATASETS = ("data", "label")


class _File:
    """An HDF5 file that takes its place under `path` only when it is finished."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._place = ExitStack()
        import h5py  # here, as it takes its time

        try:
            self._temporary = self._place.enter_context(temporary_file(path))
            self._file = h5py.File(self._temporary, "w", locking=False)
        except OSError as error:
            raise DataError(f"cannot write the HDF5 file: {error.strerror or error}", path) from error

    def append(self, blobs: tuple[Tensor, ...]) -> None:
        for name, blob in zip(DATASETS, blobs, strict=True):
            rows = blob.detach().to("cpu", torch.float32).contiguous().numpy()
            if name not in self._file:
                self._file.create_dataset(name, data=rows, maxshape=(None, *rows.shape[1:]), chunks=True)
                continue
            dataset = self._file[name]
            if dataset.shape[1:] != rows.shape[1:]:
                raise DataError(
                    f'rows of "{name}" changed shape from {list(dataset.shape[1:])} to {list(rows.shape[1:])}',
                    self._path,
                )
            start = dataset.shape[0]
            dataset.resize(start + len(rows), axis=0)
            dataset[start:] = rows

    def finish(self) -> None:
        with self._place:
            self._file.close()
            os.replace(self._temporary, self._path)


@register("HDF5Output", field="hdf5_output_param")
class HDF5Output(Layer):
    """Each forward pass appends its rows; the file is in place once the layer is closed or the program ends.

    Datasets have four axes as in Caffe: (N, C, H, W), missing axes 1; float32. Caffe fails at the second
    pass; here all passes are kept, in order.
    """

    param: proto.HDF5OutputParameter
    bottoms = 2
    tops = 0
    index_bottoms = (0, 1)  # nothing flows back
    _finish: weakref.finalize | None = None

    @classmethod
    def deployed(cls, layer_param: proto.LayerParameter) -> proto.LayerParameter | None:
        return None

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        if not self.param.file_name:
            raise self.error("hdf5_output_param has no file_name", "hdf5_output_param")
        folder = os.path.dirname(self.param.file_name) or "."
        if not os.path.isdir(folder):
            raise self.error(f"there is no folder {folder} to write {self.param.file_name} in", "file_name")
        if any(not 1 <= len(shape) <= 4 for shape in bottom_shapes):
            raise self.error(
                "needs bottoms of 1 to 4 axes, not " + " and ".join(show_shape(shape) for shape in bottom_shapes)
            )
        if bottom_shapes[0][0] != bottom_shapes[1][0]:
            raise self.error(
                f"data has {bottom_shapes[0][0]} rows but label {bottom_shapes[1][0]}; they must have as many"
            )
        return []

    @torch.no_grad()
    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        if self._finish is None:
            self._file = _File(self.param.file_name)
            self._finish = weakref.finalize(self, self._file.finish)
        glog("hdf5_output_layer.cpp:34", f"Saving HDF5 file {self.param.file_name}")
        self._file.append(tuple(blob.reshape(*blob.shape, *[1] * (4 - blob.dim())) for blob in bottoms))
        glog("hdf5_output_layer.cpp:39", f"Successfully saved {len(bottoms[0])} rows")
        return ()

    def close(self) -> None:
        """Finish the file and put it in its place."""
        if self._finish is not None:
            self._finish()
            self._finish = None
