"""Sets of images that stay in a device's memory, once for all feeds of this process that read the same ones."""

from __future__ import annotations

import hashlib
import weakref

import torch
from torch import Tensor

Key = tuple[bytes, torch.Size, torch.device]


class Resident:
    """Images (N, C, H, W), channels_last, and labels (N,) on one device."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels


_held: weakref.WeakValueDictionary[Key, Resident] = weakref.WeakValueDictionary()


def resident(images: Tensor, labels: Tensor, device: torch.device) -> Resident:
    """These images and labels, which are on the CPU, on `device`: those that are there already, if they are the same.

    They are the same if every byte is: what made them, and how, does not matter.
    """
    digest = hashlib.sha256(str(images.dtype).encode())
    digest.update(images.permute(0, 2, 3, 1).contiguous().numpy().data)
    digest.update(labels.contiguous().numpy().data)
    key = (digest.digest(), images.shape, device)
    found = _held.get(key)
    if found is None:
        found = _held[key] = Resident(images.to(device), labels.to(device))
    return found
