"""Functions and modules that C3D's layers are written with as PyTorch source.

Each is copied whole into a file that imports torch, nn, Tensor and F and nothing of sdcaffe.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class VolumeConvolution(nn.Module):
    """A convolution over length, height and width; the bias is stored with five axes."""

    def __init__(self, weight: list[int], stride: list[int], pad: list[int], bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(weight))
        self.bias = nn.Parameter(torch.zeros(1, 1, 1, 1, weight[0])) if bias else None
        self.stride, self.pad = stride, pad

    def forward(self, x: Tensor) -> Tensor:
        return F.conv3d(x, self.weight, None if self.bias is None else self.bias.flatten(), self.stride, self.pad)


def volume_maxima(x: Tensor, kernel: list[int], stride: list[int], behind: list[int]) -> Tensor:
    """The largest value of each window; `behind`: how far the last one reaches out, for each axis."""
    sides = [0, behind[2], 0, behind[1], 0, behind[0]]
    return F.max_pool3d(F.pad(x, sides, value=float("-inf")), kernel, stride)


def volume_means(x: Tensor, kernel: list[int], stride: list[int], pad: int, behind: list[int]) -> Tensor:
    """The sum of each window over its part within the image and its padding."""
    sides, beyond = [pad, pad, pad, pad, 0, 0], [0, behind[2], 0, behind[1], 0, behind[0]]
    area = F.pad(F.pad(torch.ones_like(x[:1, :1]), sides, value=1.0), beyond)
    sums = F.avg_pool3d(F.pad(F.pad(x, sides), beyond), kernel, stride, divisor_override=1)
    return sums / F.avg_pool3d(area, kernel, stride, divisor_override=1)
