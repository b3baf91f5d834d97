"""What a source of labelled images offers, and the opening of one by its prototxt name."""

from __future__ import annotations

import re
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sdcaffe.errors import DataError

Image = NDArray[np.uint8] | NDArray[np.float32]

_EMBEDDED = re.compile(r"(cifar10|cifar100|synthetic):([^:]*)(?::(.*))?", re.DOTALL)


class Source(Protocol):
    """Labelled images, numbered from 0. `read` may be called from several threads at once."""

    where: str
    encoded: bool

    def __len__(self) -> int: ...

    def read(self, index: int) -> tuple[Image, int]:
        """Image `index`, (C, H, W), bytes or float32, channels in the order stored; and its label."""
        ...

    def name(self, index: int) -> str:
        """What a message calls image `index`."""
        ...

    def close(self) -> None: ...


class ArraySource:
    """A set that is in memory: images (N, C, H, W) as bytes and labels (N,)."""

    encoded = False

    def __init__(self, where: str, images: NDArray[np.uint8], labels: NDArray[Any]) -> None:
        self.where = where
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def read(self, index: int) -> tuple[Image, int]:
        return self.images[index], int(self.labels[index])

    def name(self, index: int) -> str:
        return f"image {index}"

    def all(self) -> tuple[Tensor, Tensor]:
        """Every image, (N, C, H, W) bytes with channels_last memory, and every label, float32."""
        images = torch.from_numpy(self.images).contiguous(memory_format=torch.channels_last)
        return images, torch.from_numpy(self.labels.astype(np.float32))

    def close(self) -> None:
        """Nothing is open."""


def open_source(name: str, backend: str = "LEVELDB", *, color: str = "native") -> Source:
    """The source that `data_param.source` names.

    `cifar10:train`, `cifar10:test`, `cifar100:train`, `cifar100:test` (fine labels), each optionally
    followed by `:FOLDER`; `synthetic:train`, `synthetic:test`; else the folder of a database of Datums,
    of `backend` LMDB or LEVELDB. `color` says how encoded images are decoded; see `decode_image`.
    Raises DataError.
    """
    embedded = _EMBEDDED.fullmatch(name)
    if embedded is None:
        from sdcaffe.data.database import DatumSource

        return DatumSource(name, backend, color=color)
    kind, split, folder = embedded.groups()
    if split not in ("train", "test"):
        raise DataError(f'"{kind}" has no part "{split}"; write {kind}:train or {kind}:test', name)
    if kind == "synthetic":
        from sdcaffe.data.synthetic import synthetic

        if folder is not None:
            raise DataError(f"the synthetic set is made in memory and takes no folder; write {kind}:{split}", name)
        return ArraySource(name, *synthetic(split))
    from sdcaffe.data.cifar import read_cifar

    return ArraySource(name, *read_cifar(kind, split, folder))
