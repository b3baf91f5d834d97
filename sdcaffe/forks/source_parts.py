"""Functions that layers of forks are written with as PyTorch source. Nothing else uses them.

Each is copied whole into a file that imports torch, nn, Tensor and F and nothing of sdcaffe.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def inside_average(
    x: Tensor, kernel: tuple[int, int], stride: tuple[int, int], sides: tuple[int, ...], tops: tuple[int, int]
) -> Tensor:
    """Averages over the part of each window that lies within the image; sides: zeros left, right, above, below."""
    ones = torch.ones_like(x[:1, :1])
    sums = F.avg_pool2d(F.pad(x, sides), kernel, stride, ceil_mode=True, divisor_override=1)
    areas = F.avg_pool2d(F.pad(ones, sides), kernel, stride, ceil_mode=True, divisor_override=1)
    return sums[:, :, : tops[0], : tops[1]] / areas[:, :, : tops[0], : tops[1]]


def pool_channels(
    x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...], sides: tuple[int, ...], maximum: bool
) -> Tensor:
    """Windows over channels, height and width. sides: what is put left, right, above, below, before and behind.

    The largest value of each, or the average over the part of it that lies within x.
    """
    volume = x.unsqueeze(1)
    if maximum:
        return F.max_pool3d(F.pad(volume, sides, value=float("-inf")), kernel, stride).squeeze(1)
    area = F.avg_pool3d(F.pad(torch.ones_like(volume[:1]), sides), kernel, stride)
    return (F.avg_pool3d(F.pad(volume, sides), kernel, stride) / area).squeeze(1)
