"""Random erasing (Zhong et al., 2017): which rectangle of each image is painted over. It paints nothing."""

from __future__ import annotations

import torch
from torch import Tensor

from sdcaffe import proto


class RandomErasing:
    """With `probability`, a rectangle of each window is erased. It covers from `min_area` to `max_area` of the window,
    uniformly; height to width is from 1 / `max_aspect` to `max_aspect`, the same either way, as far as the window
    has room."""

    probability: float = 0.0
    min_area: float = 0.02
    max_area: float = 0.4
    max_aspect: float = 10 / 3


def flaw(param: proto.RandomErasing) -> tuple[str, str] | None:
    """What is wrong with the settings, and the field it is about; None: nothing."""
    if not 0 <= param.probability <= 1:
        return f"probability of erasing is {param.probability:g}; it must be from 0 to 1", "erasing.probability"
    if not 0 < param.min_area <= param.max_area <= 1:
        areas = f"min_area {param.min_area:g} and max_area {param.max_area:g}"
        return f"erasing has {areas}; they are fractions of the window, above 0, and in this order", "erasing"
    if not 1 <= param.max_aspect < float("inf"):
        return f"max_aspect of erasing is {param.max_aspect:g}; it must be 1 or more", "erasing.max_aspect"
    return None


def erased(m: int, size: tuple[int, int], param: proto.RandomErasing, device: torch.device) -> Tensor:
    """Which pixels of m windows of `size` (height, width) are erased: bool (m, height, width).

    Sides are rounded to pixels. Nothing is drawn twice and nothing waits for the device.
    """
    h, w = size
    chosen, area, aspect, down, across = torch.rand(5, m, 1, device=device)
    area = (param.min_area + area * (param.max_area - param.min_area)) * (h * w)
    tallest, widest = (h * h) / area, area / (w * w)  # height to width that the window has room for
    low, high = (
        torch.clamp(torch.full_like(area, a), widest, tallest).log() for a in (1 / param.max_aspect, param.max_aspect)
    )
    aspect = torch.exp(low + aspect * (high - low))
    top, bottom = _span((area * aspect).sqrt(), down, h)
    left, right = _span((area / aspect).sqrt(), across, w)
    y, x = torch.arange(h, device=device), torch.arange(w, device=device)
    rows = (y >= top) & (y < bottom) & (chosen < param.probability)
    columns = (x >= left) & (x < right)
    return rows.unsqueeze(2) & columns.unsqueeze(1)


def _span(length: Tensor, position: Tensor, room: int) -> tuple[Tensor, Tensor]:
    """Where a side begins and ends; every whole position is as likely."""
    length = length.round().clamp(1, room)
    start = torch.minimum((position * (room - length + 1)).floor(), room - length)
    return start, start + length
