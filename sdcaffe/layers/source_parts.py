"""Modules that PyTorch lacks, as they stand in the source that layers are written as. Nothing else uses them.

Each is copied whole into a file that imports torch, nn, Tensor and F and nothing of sdcaffe.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Scale(nn.Module):
    """Multiplies by a learned weight of `shape`, with `trailing` axes behind it, and may add a bias of that shape."""

    def __init__(self, *shape: int, trailing: int = 2, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(shape))
        self.bias = nn.Parameter(torch.zeros(shape)) if bias else None
        self.view = shape + (1,) * trailing

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.reshape(self.view)
        return x * weight if self.bias is None else torch.addcmul(self.bias.reshape(self.view), x, weight)


class Bias(nn.Module):
    """Adds a learned bias of `shape`, with `trailing` axes behind it."""

    def __init__(self, *shape: int, trailing: int = 2) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(shape))
        self.view = shape + (1,) * trailing

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias.reshape(self.view)


class TransposedLinear(nn.Module):
    """A linear layer whose weight is stored (inputs, outputs)."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inputs, outputs) / inputs**0.5)
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.t(), self.bias)


class Embed(nn.Module):
    """A learned vector for each index, and a bias on top; indices come as numbers of any type."""

    def __init__(self, count: int, outputs: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(count, outputs))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        vectors = F.embedding(x.long(), self.weight)
        return vectors if self.bias is None else vectors + self.bias


class LSTM(nn.Module):
    """Hidden states (t, n, outputs) for x (t, n, ...); cont (t, n) is 0 where a sequence begins, 1 elsewhere.

    Gates are in the order i, f, o, g. Each pass begins with a state of 0.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight_ih = nn.Parameter(torch.randn(4 * outputs, inputs) / inputs**0.5)
        self.bias = nn.Parameter(torch.zeros(4 * outputs))
        self.weight_hh = nn.Parameter(torch.randn(4 * outputs, outputs) / outputs**0.5)

    def forward(self, x: Tensor, cont: Tensor) -> Tensor:
        inputs = F.linear(x.flatten(2), self.weight_ih, self.bias)
        hidden = cell = inputs.new_zeros(x.shape[1], self.weight_hh.shape[1])
        steps = []
        for step, going in zip(inputs.unbind(), cont.unsqueeze(-1).unbind(), strict=True):
            i, f, o, g = (step + F.linear(hidden * going, self.weight_hh)).chunk(4, 1)
            cell = torch.sigmoid(f) * going * cell + torch.sigmoid(i) * torch.tanh(g)
            hidden = torch.sigmoid(o) * torch.tanh(cell)
            steps.append(hidden)
        return torch.stack(steps)


def max_pool_with_mask(
    x: Tensor, kernel: list[int], stride: list[int], padding: list[int], ceil_mode: bool
) -> tuple[Tensor, Tensor]:
    """The largest value of each window, and its place row * width + column in its channel, as a number of x's type."""
    top, place = F.max_pool2d(x, kernel, stride, padding, ceil_mode=ceil_mode, return_indices=True)
    return top, place.to(x.dtype)


def padded_max_pool_with_mask(
    x: Tensor, kernel: list[int], stride: list[int], sides: list[int], pooled: list[int]
) -> tuple[Tensor, Tensor]:
    """The same, `pooled` windows of them, where padding is not alike on all sides: left, right, above, below."""
    padded = F.pad(x, sides, value=float("-inf"))
    top, place = F.max_pool2d(padded, kernel, stride, ceil_mode=True, return_indices=True)
    row = torch.div(place, padded.shape[3], rounding_mode="floor") - sides[2]
    mask = row * x.shape[3] + place % padded.shape[3] - sides[0]
    return top[:, :, : pooled[0], : pooled[1]], mask[:, :, : pooled[0], : pooled[1]].to(x.dtype)


def standardised(x: Tensor, axes: list[int], eps: float) -> Tensor:
    """Mean 0 and standard deviation 1 over `axes`; eps is added to the deviation."""
    centred = x - torch.mean(x, axes, keepdim=True)
    return centred / (torch.sqrt(torch.mean(torch.square(centred), axes, keepdim=True)) + eps)
