"""Functions that CAFFE-DACH's Pooling and Unpooling are written with as PyTorch source. Nothing else uses them.

Each is copied whole into a file that imports torch, nn, Tensor and F and nothing of sdcaffe.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def maxima_places(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...], sides: tuple[int, ...]) -> Tensor:
    """Where the largest value of each window of `pool_channels` is: (channel * height + row) * width + column."""
    volume = F.pad(x.unsqueeze(1), sides, value=float("-inf"))
    places = F.max_pool3d(volume, kernel, stride, return_indices=True)[1].squeeze(1)
    height, width = volume.shape[3:]
    column, row = places % width - sides[0], places // width % height - sides[2]
    channel = places // (width * height) - sides[4]
    return ((channel * x.shape[2] + row) * x.shape[3] + column).to(x.dtype)


def covered(
    x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...], pads: tuple[int, ...], tops: tuple[int, ...]
) -> Tensor:
    """How many places of a volume of `tops` the window of each value of x (n, c, h, w) has: (1, c, h, w).

    Windows begin `pads` before the volume and may reach out of it.
    """
    sides: list[int] = []
    for size, k, s, pad, top in zip(x.shape[1:], kernel, stride, pads, tops, strict=True):
        sides = [pad, (size - 1) * s + k - pad - top, *sides]
    volume = F.pad(torch.ones([1, 1, *tops], dtype=x.dtype, device=x.device), sides)
    return F.conv3d(volume, torch.ones([1, 1, *kernel], dtype=x.dtype, device=x.device), stride=stride)[0]


def spread(
    x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...], pads: tuple[int, ...], tops: tuple[int, ...]
) -> Tensor:
    """Each value of x (n, c, h, w) at all places that its window has of a volume of `tops`; overlaps add up."""
    wide = F.conv_transpose3d(
        x.unsqueeze(1), torch.ones([1, 1, *kernel], dtype=x.dtype, device=x.device), stride=stride
    ).squeeze(1)
    sides: list[int] = []
    for size, pad, top in zip(wide.shape[1:], pads, tops, strict=True):
        sides = [-pad, top + pad - size, *sides]
    return F.pad(wide, sides)


def put_back(
    x: Tensor,
    mask: Tensor,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    pads: tuple[int, ...],
    tops: tuple[int, ...],
) -> Tensor:
    """Each value of x (n, c, h, w) at the place in a volume of `tops` that `mask` has for it, if its window has that.

    A place is (channel * height + row) * width + column. Values with one place add up.
    """
    places = mask.long()
    inside = torch.ones_like(places, dtype=torch.bool)
    step = tops[0] * tops[1] * tops[2]
    for axis in range(3):
        step = step // tops[axis]
        shape = [-1 if other == axis else 1 for other in range(3)]
        begin = (torch.arange(x.shape[1 + axis], device=x.device) * stride[axis] - pads[axis]).reshape(shape)
        at = places // step % tops[axis]
        inside = inside & (at >= begin) & (at < begin + kernel[axis])
    inside = inside & (places >= 0) & (places < tops[0] * tops[1] * tops[2])
    values = torch.where(inside, x, torch.zeros_like(x)).flatten(1)
    flat = torch.zeros([x.shape[0], tops[0] * tops[1] * tops[2]], dtype=x.dtype, device=x.device)
    return flat.scatter_add(1, torch.where(inside, places, 0).flatten(1), values).unflatten(1, tops)
