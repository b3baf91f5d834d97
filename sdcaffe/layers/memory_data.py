"""MemoryData: batches of arrays that the program gives. Transforms nothing, as Caffe's Reset."""

from __future__ import annotations

import logging

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from sdcaffe import proto
from sdcaffe.errors import DataError
from sdcaffe.layers.base import DataLayer, Shape, register, show_shape


@register("MemoryData", field="memory_data_param")
class MemoryData(DataLayer):
    """Batch k is rows k * batch_size .. of the arrays given to `set_arrays`, which begin again at their end.

    Tops are images (batch_size, channels, height, width) and labels (batch_size,), float32.
    """

    param: proto.MemoryDataParameter
    tops = 2
    _arrays: tuple[Tensor, Tensor] | None = None

    brings = "images"

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        param = self.param
        self.shape = (param.batch_size, param.channels, param.height, param.width)
        if min(self.shape) < 1:
            raise self.error(
                "batch_size, channels, height and width must be 1 or more, not "
                + " x ".join(str(n) for n in self.shape),
                "memory_data_param",
            )
        return [self.shape, self.shape[:1]]

    def set_arrays(self, data: ArrayLike, labels: ArrayLike) -> None:
        """Give images (N, C, H, W) and labels (N,) or (N, 1, 1, 1); N is a multiple of the batch size.

        Batches start from the first row and, as in Caffe, hold what float32 arrays hold when they are read. Raises
        DataError for other shapes.
        """
        images = np.ascontiguousarray(data, np.float32)
        values = np.ascontiguousarray(labels, np.float32)
        where = f'layer "{self.name}"'
        if images.ndim != 4 or images.shape[1:] != self.shape[1:]:
            raise DataError(
                f"data has shape {show_shape(images.shape)} but memory_data_param says N x "
                + " x ".join(str(n) for n in self.shape[1:]),
                where,
            )
        if values.size != len(images) or values.shape[:1] != images.shape[:1]:
            raise DataError(f"{len(images)} images but labels of shape {show_shape(values.shape)}", where)
        if not len(images) or len(images) % self.shape[0]:
            raise DataError(
                f"{len(images)} images are no whole number of batches of {self.shape[0]}; give a multiple", where
            )
        if self.layer_param.HasField("transform_param"):
            logging.getLogger("sdcaffe").warning("MemoryData does not transform array data on Reset()")
        self._arrays = torch.from_numpy(images), torch.from_numpy(values.reshape(-1))
        self.cursor = 0

    def next_batch(self, device: torch.device) -> tuple[Tensor, ...]:
        if self._arrays is None:
            raise DataError("has no data yet; give it with set_arrays (set_input_arrays of pycaffe)", self.name)
        n = self.shape[0]
        start = self.cursor * n % len(self._arrays[0])
        self.cursor += 1
        return tuple(array[start : start + n].to(device, copy=True) for array in self._arrays)

    def close(self) -> None:
        self._arrays = None
