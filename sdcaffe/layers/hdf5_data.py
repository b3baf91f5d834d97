"""HDF5Data: rows of HDF5 files, whatever they mean; a top is a dataset of the same name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.data.feed import RESIDENT_BYTES
from sdcaffe.data.order import Order, default_seed, shard
from sdcaffe.data.prefetch import Prefetcher
from sdcaffe.layers.base import DataLayer, Shape, register
from sdcaffe.log import glog

if TYPE_CHECKING:
    from sdcaffe.data.hdf5 import Hdf5Rows


@register("HDF5Data", field="hdf5_data_param")
class HDF5Data(DataLayer):
    """Batch k is rows k * batch_size .. of the listed files, which begin again at their end, as in Caffe.

    `source` is a text file that lists .h5 files, relative to the current directory. `shuffle` draws, each
    epoch, the order of the files and of the rows within each. Tops are float32 of the datasets' shapes.
    Up to 1 GiB stays on the device; of more, a file at a time is in memory and read ahead.
    """

    param: proto.HDF5DataParameter
    tops = (1, None)
    _rows: Hdf5Rows | None = None
    _resident: tuple[Tensor, ...] | None = None
    _device: torch.device | None = None  # where the resident rows are

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        param = self.param
        if self._rows is None:
            from sdcaffe.data.hdf5 import Hdf5Rows  # h5py takes its time

            if self.layer_param.HasField("transform_param"):
                raise self.error("HDF5Data does not transform data; transform it beforehand", "transform_param")
            if param.batch_size < 1:
                raise self.error(f"batch_size is {param.batch_size}; it must be 1 or more", "batch_size")
            glog("hdf5_data_layer.cpp:80", f"Loading list of HDF5 filenames from: {param.source}")
            self._ahead: Prefetcher[tuple[Tensor, ...]] = Prefetcher(2, f"prefetch {param.source}")
            self._rows = Hdf5Rows(param.source, list(self.layer_param.top))
            glog("hdf5_data_layer.cpp:94", f"Number of HDF5 files: {len(self._rows.files)}")
            self.item_count = len(self._rows)
            rank, world = shard(self.phase)
            self._order = Order(
                self.item_count,
                param.batch_size,
                seed=default_seed(self.name),
                shuffle=self._rows.order if param.shuffle else None,
                rank=rank,
                world=world,
            )
        return [(param.batch_size, *shape) for shape in self._rows.shapes]

    @property
    def seed(self) -> int:
        """Decides shuffling; set it to repeat another run's."""
        return self._order.seed

    @seed.setter
    def seed(self, seed: int) -> None:
        self._ahead.stop()
        self._order.seed = seed

    def next_batch(self, device: torch.device) -> tuple[Tensor, ...]:
        if self._rows is None:
            raise self.error("reads data only between setup and close")
        if self._rows.nbytes <= RESIDENT_BYTES:
            batch = self._from_memory(self._rows, device)
        else:
            batch = tuple(blob.to(device, non_blocking=True) for blob in self._ahead.get(self.cursor, self._read))
        self.cursor += 1
        return batch

    def _from_memory(self, rows: Hdf5Rows, device: torch.device) -> tuple[Tensor, ...]:
        if self._resident is None or self._device != device:
            self._resident = tuple(torch.from_numpy(array).to(device) for array in rows.read_all())
            self._device = device
        pick = torch.from_numpy(self._order.indices(self.cursor)).to(device)
        return tuple(blob.index_select(0, pick) for blob in self._resident)

    def _read(self, k: int) -> tuple[Tensor, ...]:
        assert self._rows is not None
        return tuple(torch.from_numpy(array) for array in self._rows.read(self._order.indices(k)))

    def close(self) -> None:
        if self._rows is not None:
            self._ahead.stop()
        self._rows = self._resident = None
