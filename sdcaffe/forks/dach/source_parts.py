"""Functions that CAFFE-DACH's layers compute and are written with as PyTorch source.

Each is copied whole into a file that imports torch, nn, Tensor and F and nothing of sdcaffe.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def log_scaled(x: Tensor, scale: float, base: float) -> Tensor:
    """sign(x) * log(1 + scale * |x|) / base."""
    sign = torch.where(x < 0, -1.0, 1.0).to(x.dtype)
    return sign * torch.log(1 + scale * sign * x) / base


def exp_scaled(x: Tensor, scale: float, base: float) -> Tensor:
    """sign(x) * scale * (exp(base * |x|) - 1)."""
    sign = torch.where(x < 0, -1.0, 1.0).to(x.dtype)
    return sign * scale * (torch.exp(base * sign * x) - 1)


class GridBlobs(nn.Module):
    """The weight of a grid, and its bias where it has one."""

    def __init__(self, weight: list[int], bias: list[int] | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(weight))
        self.bias = nn.Parameter(torch.zeros(bias)) if bias else None


def grid_windows(x: Tensor, kernel: list[int], stride: list[int], tops: list[int]) -> Tensor:
    """The windows of x (n, c, h, w), 0 outside of it: (n, values of one, *tops)."""
    sides = [(tops[i] - 1) * stride[i] + kernel[i] - x.shape[1 + i] for i in range(3)]
    picks = torch.eye(kernel[0] * kernel[1] * kernel[2], dtype=x.dtype, device=x.device)
    padded = F.pad(x, [0, sides[2], 0, sides[1], 0, sides[0]])
    return F.conv3d(padded.unsqueeze(1), picks.reshape(-1, 1, *kernel), stride=stride)


def gridded(x: Tensor, weights: Tensor, kernel: list[int], stride: list[int], tops: list[int]) -> Tensor:
    """The sum of each window of x (n, c, h, w) times its weights (1, values of one, *tops)."""
    return (grid_windows(x, kernel, stride, tops) * weights).sum(1)


def degridded(x: Tensor, weights: Tensor, kernel: list[int], stride: list[int], size: list[int]) -> Tensor:
    """Each number of x (n, c, h, w) times the weights of its window, summed where they overlap, cut to `size`."""
    picks = torch.eye(kernel[0] * kernel[1] * kernel[2], dtype=x.dtype, device=x.device)
    values = x.unsqueeze(1) * weights
    whole = F.conv_transpose3d(values, picks.reshape(-1, 1, *kernel), stride=stride).squeeze(1)
    return whole[:, : size[0], : size[1], : size[2]]
