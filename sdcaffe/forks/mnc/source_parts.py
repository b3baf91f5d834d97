"""Functions that MNC's layers compute and are written with as PyTorch source.

Each is copied whole into a file that imports torch, nn, Tensor and F and nothing of sdcaffe.
"""

from __future__ import annotations

import torch
from torch import Tensor


def corners(places: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of places on an axis of `size` pixels: the pixels before and behind, the share of the latter, whether inside."""
    inside = (places >= -0.5) & (places <= size - 0.5)
    places = places.clamp(0, size - 1)
    low = places.floor()
    return low.long(), (low + 1).clamp(max=size - 1).long(), places - low, inside.to(places.dtype)


def resize_mask(x: Tensor, size: list[int]) -> Tensor:
    """x (n, c, h, w) at places i * h / size, between pixels; 0 more than half a pixel behind the last one.

    Of the pixels of an output, only those that the fork's kernel looks at get its gradient.
    """
    plain, trained = x, x
    for axis in (0, 1):
        n, m = x.shape[2 + axis], size[axis]
        ratio = torch.tensor(n, dtype=x.dtype) / m
        at = torch.arange(m, device=x.device)
        low, high, share, inside = corners(at * ratio, n)
        pixel = torch.arange(n, device=x.device)
        matrix = (pixel == low[:, None]) * (1 - share)[:, None] + (pixel == high[:, None]) * share[:, None]
        matrix = (matrix * inside[:, None]).to(x.dtype)
        first = (pixel / ratio).floor()
        seen = (at[:, None] == first) | (at[:, None] == first + 1)
        plain = torch.movedim(torch.movedim(plain, 2 + axis, -1) @ matrix.t(), -1, 2 + axis)
        trained = torch.movedim(torch.movedim(trained, 2 + axis, -1) @ (matrix * seen).t(), -1, 2 + axis)
    return trained + (plain - trained).detach()


def region_axis(start: Tensor, end: Tensor, count: int, size: int) -> tuple[list[tuple[Tensor, ...]], Tensor, Tensor]:
    """One axis of regions (r,) laid over `count` places of an axis of `size` pixels.

    For the pixels before and behind each place: which they are, their shares, and whether they get a gradient, all
    (r, count); then how far along its region each place is to the fork's gradient, and whether that looks at it.
    """
    at = torch.arange(count, device=start.device, dtype=start.dtype)
    places = start[:, None] + at * ((end - start).clamp(min=0) / count)[:, None]
    low, high, share, inside = corners(places, size)
    cell = ((end - start + 1).clamp(min=1) / count)[:, None]
    found: list[tuple[Tensor, ...]] = []
    for pixel, part in ((low, 1 - share), (high, share)):
        offset = pixel - start[:, None]
        seen = (offset >= 0) & (pixel <= end[:, None])
        seen = seen & (at >= ((offset - 1) / cell - 1).floor()) & (at < ((offset + 1) / cell).ceil())
        found.append((pixel, part * inside, seen))
    along = (places.clamp(0, size - 1) - start[:, None]) / cell / count
    return found, along, inside * (low + 1 <= size - 1)


def warp_regions(x: Tensor, regions: Tensor, size: list[int], scale: float) -> Tensor:
    """Each region (item, x1, y1, x2, y2) of x (n, c, h, w) laid over a grid of `size` places, between pixels."""
    regions = regions.flatten(1)
    scaled = regions[:, 1:].detach() * scale
    edges = torch.where(scaled < 0, (scaled - 0.5).ceil(), (scaled + 0.5).floor())
    rows, along_h, sloped_h = region_axis(edges[:, 1], edges[:, 3], size[0], x.shape[2])
    columns, along_w, sloped_w = region_axis(edges[:, 0], edges[:, 2], size[1], x.shape[3])
    items = regions[:, 0].detach().long()[:, None, None]
    top, dx, dy = torch.zeros([], dtype=x.dtype), torch.zeros([], dtype=x.dtype), torch.zeros([], dtype=x.dtype)
    for i, (row, part_h, seen_h) in enumerate(rows):
        for j, (column, part_w, seen_w) in enumerate(columns):
            pixels = x[items, :, row[:, :, None], column[:, None, :]].permute(0, 3, 1, 2)
            seen = (seen_h[:, :, None] & seen_w[:, None, :])[:, None]
            top = top + (part_h[:, :, None] * part_w[:, None, :])[:, None] * torch.where(seen, pixels, pixels.detach())
            dx = dx + (2 * j - 1) * part_h[:, None, :, None] * pixels.detach()
            dy = dy + (2 * i - 1) * part_w[:, None, None, :] * pixels.detach()
    if not regions.requires_grad:
        return top
    sloped = scale * (sloped_h[:, :, None] * sloped_w[:, None, :])[:, None]
    x1, y1, x2, y2 = (regions[:, 1:] - regions[:, 1:].detach()).t()[:, :, None, None, None]  # 0, with a gradient
    along_h, along_w = along_h[:, None, :, None], along_w[:, None, None, :]
    return top + sloped * (dx * (x1 * (1 - along_w) + x2 * along_w) + dy * (y1 * (1 - along_h) + y2 * along_h))
