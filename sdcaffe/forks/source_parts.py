"""Functions that layers of forks are written with as PyTorch source. Nothing else uses them.

Each is copied whole into a file that imports torch, nn, Tensor and F and nothing of sdcaffe.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
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


def nearest(x: Tensor, size: list[int]) -> Tensor:
    """x (n, c, h, w) resized to `size`, corners kept: the nearest pixel, the later of two as near."""
    for axis in range(2):
        step = torch.tensor(float(x.shape[2 + axis] - 1)) / max(1, size[axis] - 1)
        places = (torch.arange(size[axis]) * step).double() + 0.5
        x = x.index_select(2 + axis, places.floor().long().to(x.device))
    return x


def unpool(x: Tensor, mask: Tensor, size: list[int]) -> Tensor:
    """The values of x (n, c, h, w) at the places of `mask` in maps of `size`, 0 elsewhere.

    A place is row * width + column. Of several values with one place the last counts.
    """
    values, places = x.flatten(2), mask.flatten(2).long()
    order = torch.arange(values.shape[2], device=x.device).expand_as(places)
    none = torch.full([x.shape[0], x.shape[1], size[0] * size[1]], -1, dtype=torch.int64, device=x.device)
    last = none.scatter_reduce(2, places, order, "amax")
    top = values.gather(2, last.clamp(min=0)).masked_fill(last < 0, 0.0)
    return top.unflatten(2, size)


def dense_features(x: Tensor, blobs: list[Tensor], transitions: int) -> Tensor:
    """x (n, c, h, w) and the maps that each transition adds: a norm, ReLU and a convolution of all maps so far.

    Blobs are, `transitions` of each: filters, which lie turned by 180 degrees, and scales, biases, and sums of means
    and of variances of norms; where there are as many again, those of a 1x1 convolution, behind which a norm and ReLU
    come once more; and how many batches the sums are of. With the count 0 they are means and variances themselves.
    """
    share = torch.where(blobs[-1] > 0, 1 / blobs[-1], torch.ones_like(blobs[-1]))
    narrow = 5 * transitions
    for i in range(transitions):
        y = x
        for first in range(0, len(blobs) - 1, narrow):
            if first > 0:
                y = F.conv2d(y, blobs[first + i])
            scale, bias, mean, variance = [blobs[first + kind * transitions + i] for kind in range(1, 5)]
            y = F.relu((y - mean * share) / torch.sqrt(variance * share + 1e-5) * scale + bias)
        x = torch.cat([x, F.conv2d(y, blobs[i].flip(2, 3), padding=1)], 1)
    return x


def region_maxima(x: Tensor, regions: Tensor, size: list[int], scale: float) -> Tensor:
    """The maxima of a grid of `size` over each region of x (n, c, h, w): (regions, c, *size), 0 where a cell is empty.

    A region is an item and x1, y1, x2, y2, times `scale` the first and the last pixels, rounded.
    """
    rows = regions.reshape(-1, 5).float()
    corners = rows[:, 1:] * scale
    corners = (corners.abs() + 0.5).floor() * corners.sign()
    tables = x.permute(0, 2, 3, 1).contiguous()[None, None]  # (k, l, n, h, w, c): maxima of 2^k by 2^l from there on
    lows, highs, levels = [corners], [corners], [corners]
    for axis in [1, 0]:
        most = x.shape[2 + axis]
        steps = [tables]
        while 1 << len(steps) <= most:
            ahead = (torch.arange(most, device=x.device) + (1 << (len(steps) - 1))).clamp(max=most - 1)
            steps.append(torch.maximum(steps[-1], steps[-1].index_select(3 + axis, ahead)))
        tables = torch.cat(steps, axis)
        first = corners[:, 1 - axis : 2 - axis]
        cell = (corners[:, 3 - axis : 4 - axis] - first + 1).clamp(min=1) / size[axis]
        number = torch.arange(size[axis], device=x.device)
        lows.append((torch.floor(number * cell) + first).clamp(0, most).long())
        highs.append((torch.ceil((number + 1) * cell) + first).clamp(0, most).long())
        powers = 2 ** torch.arange(1, len(steps), device=x.device)
        levels.append(((highs[-1] - lows[-1]).unsqueeze(2) >= powers).sum(2))
    left, right, wide = lows[1].unsqueeze(1), highs[1].unsqueeze(1), levels[1].unsqueeze(1)
    above, below, high = lows[2].unsqueeze(2), highs[2].unsqueeze(2), levels[2].unsqueeze(2)
    item = rows[:, 0].long().reshape(-1, 1, 1)
    top = torch.full([1], -torch.inf, dtype=x.dtype, device=x.device)
    for y in [above.clamp(max=x.shape[2] - 1), (below - 2**high).clamp(min=0)]:
        for z in [left.clamp(max=x.shape[3] - 1), (right - 2**wide).clamp(min=0)]:
            top = torch.maximum(top, tables[high, wide, item, y, z])
    empty = (above >= below) | (left >= right)
    return top.masked_fill(empty.unsqueeze(3), 0.0).permute(0, 3, 1, 2).contiguous()


class Blobs(nn.Module):
    """Tensors of these shapes, called blob_0, blob_1 and so on."""

    def __init__(self, *shapes: tuple[int, ...]) -> None:
        super().__init__()
        for i, shape in enumerate(shapes):
            self.register_parameter(f"blob_{i}", nn.Parameter(torch.zeros(shape)))


class FusedBatchNorm(nn.Module):
    """Batch norm with weight and bias, all numbers of `shape`: by `mean` and `variance`, or by the batch's own.

    The channels are `axis` of x. With `counted` there is a count of batches too, which nothing reads.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, *shape: int, eps: float, axis: int = 1, of_batch: bool = False, counted: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(shape))
        self.bias = nn.Parameter(torch.zeros(shape))
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("variance", torch.ones(shape))
        if counted:
            self.register_buffer("count", torch.ones(1))
        self.eps, self.axis, self.of_batch = eps, axis, of_batch

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, self.axis)
        mean, variance = self.mean.flatten(), self.variance.flatten()
        if self.of_batch:
            variance, mean = torch.var_mean(x.transpose(0, 1).flatten(1), 1, correction=0)
        y = F.batch_norm(x, mean, variance, self.weight.flatten(), self.bias.flatten(), eps=self.eps)
        return y.transpose(1, self.axis)


class BatchStatisticsNorm(nn.Module):
    """x (n, c, h, w) normalised by its own statistics, times a weight plus a bias; then their mean and variance."""

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.eps = eps

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        variance, mean = torch.var_mean(x, [0, 2, 3], correction=0, keepdim=True)
        y = (x - mean) / torch.sqrt(variance + self.eps) * self.weight + self.bias
        return y, mean, variance
