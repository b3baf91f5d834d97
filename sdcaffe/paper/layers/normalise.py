"""What Distort does in the test phase, as it stands in the PyTorch source that it is written as.

It is copied whole into a file that imports torch, nn and Tensor and nothing of sdcaffe.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Normalise(nn.Module):
    """(pixel - mean) / std of each channel."""

    scale: Tensor
    shift: Tensor

    def __init__(self, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.register_buffer("scale", 1 / torch.tensor(std).reshape(-1, 1, 1), persistent=False)
        self.register_buffer("shift", -torch.tensor(mean).reshape(-1, 1, 1) * self.scale, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.shift, x, self.scale)
