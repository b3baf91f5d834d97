"""What a source of labelled images offers, and the source that is in memory. Opening one is `opening`'s."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sdcaffe import proto
from sdcaffe.errors import DataError
from sdcaffe.plugins import Kind

Image = NDArray[np.uint8] | NDArray[np.float32]


class Source:
    """Labelled images, numbered from 0. `read` may be called from several threads at once.

    One that is registered as NAME is opened for `data_param { source: "NAME:WHERE" }`, with WHERE, the whole
    DataParameter, which has the fields that the class declares in a class `Fields`, and how encoded images are to be
    decoded (`native`, `color` or `gray`, see `decode_image`).

    - `where`: what messages call it; `param`: the DataParameter
    - `class_names`: what each label is called, from 0 on; none where the source does not know
    - `encoded`: whether an image is decoded each time it is read: such a set stays in memory up to a smaller size
    """

    where: str
    class_names: Sequence[str] = ()
    encoded: bool = False

    def __init__(self, where: str, param: proto.DataParameter, color: str) -> None:
        self.where, self.param = param.source, param

    def __len__(self) -> int:
        raise DataError(f"{type(self).__name__} does not define __len__", self.where)

    def read(self, index: int) -> tuple[Image, int]:
        """Image `index`, (C, H, W), bytes or float32, channels in the order stored; and its label."""
        raise DataError(f"{type(self).__name__} does not define read", self.where)

    def name(self, index: int) -> str:
        """What a message calls image `index`."""
        return f"image {index}"

    def close(self) -> None:
        """Let go of files."""


SOURCES = Kind("source of data", Source, "DataParameter", DataError)
register_source = SOURCES.register


class ArraySource(Source):
    """A set that is in memory: images (N, C, H, W) as bytes and labels (N,)."""

    def __init__(self, where: str, images: NDArray[np.uint8], labels: NDArray[Any]) -> None:
        self.where = where
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def read(self, index: int) -> tuple[Image, int]:
        return self.images[index], int(self.labels[index])

    def all(self) -> tuple[Tensor, Tensor]:
        """Every image, (N, C, H, W) bytes with channels_last memory, and every label, float32."""
        images = torch.from_numpy(self.images).contiguous(memory_format=torch.channels_last)
        return images, torch.from_numpy(self.labels.astype(np.float32))
