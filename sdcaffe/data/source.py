"""What a source of labelled images offers, and the source that is in memory. Opening one is `opening`'s."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Image = NDArray[np.uint8] | NDArray[np.float32]


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
