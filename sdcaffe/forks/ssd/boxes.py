"""Boxes of a detector: made of offsets from prior boxes and back, how they overlap, and which overlap better ones.

A box is xmin, ymin, xmax, ymax. Holds no layer type.
"""

from __future__ import annotations

import enum

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array = npt.NDArray[np.floating]


class CodeType(enum.IntEnum):
    """How SSD writes a box as four offsets from a prior box."""

    CORNER = 1
    CENTER_SIZE = 2
    CORNER_SIZE = 3


def decode(offsets: Tensor, priors: Tensor, variances: Tensor | None, code: int) -> Tensor:
    """The boxes of offsets (..., 4) from priors (..., 4), the offsets times the variances first, if there are any.

    CORNER adds the offsets; CORNER_SIZE adds them in units of the prior's size; CENTER_SIZE moves the centre
    in units of the size and multiplies the size by the exponentials of the last two.
    """
    if variances is not None:
        offsets = offsets * variances
    if code == CodeType.CORNER:
        return priors + offsets
    first, last = priors[..., :2], priors[..., 2:]
    size = last - first
    if code == CodeType.CORNER_SIZE:
        return priors + offsets * torch.cat([size, size], -1)
    centre = offsets[..., :2] * size + (first + last) / 2
    half = offsets[..., 2:].exp() * size / 2
    return torch.cat([centre - half, centre + half], -1)


def encode(boxes: Tensor, priors: Tensor, variances: Tensor | None, code: int) -> Tensor:
    """The offsets (..., 4) from which `decode` makes `boxes`."""
    first, last = priors[..., :2], priors[..., 2:]
    size = last - first
    if code == CodeType.CENTER_SIZE:
        moved = (boxes[..., :2] + boxes[..., 2:]) / 2 - (first + last) / 2
        grown = (boxes[..., 2:] - boxes[..., :2]) / size
        offsets = torch.cat([moved / size, grown.log()], -1)
    else:
        offsets = boxes - priors
        if code == CodeType.CORNER_SIZE:
            offsets = offsets / torch.cat([size, size], -1)
    return offsets if variances is None else offsets / variances


def areas(boxes: Tensor) -> Tensor:
    """The areas (...) of boxes (..., 4); 0 where one ends before it begins."""
    sides = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)
    return sides[..., 0] * sides[..., 1]


def overlaps(some: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of each of `some` (m, 4) and each of `others` (p, 4): (m, p), 0 where they are apart."""
    left, top, right, bottom = others.t().contiguous()
    width = torch.minimum(right, some[:, 2:3]).sub_(torch.maximum(left, some[:, 0:1])).clamp_(min=0)
    height = torch.minimum(bottom, some[:, 3:4]).sub_(torch.maximum(top, some[:, 1:2])).clamp_(min=0)
    common = width.mul_(height)
    union = (areas(some)[:, None] + areas(others)).sub_(common)
    return torch.where(common > 0, common / union, 0)


@np.errstate(over="ignore", invalid="ignore")  # boxes of infinite size meet none
def suppress(boxes: Array, scores: Array, *, overlap: float, eta: float = 1.0) -> list[int]:
    """Indices of the boxes (m, 4) to keep, best score first: non-maximum suppression as SSD does it.

    They are tried in turn, and kept if their overlap with each one kept before is at most `overlap`, which is
    multiplied by `eta` after each that is kept as long as it is above 0.5.
    """
    tried = np.argsort(-scores, kind="stable")
    sides = np.ascontiguousarray(boxes[tried].T)  # four rows: an axis of contiguous numbers for each
    areas = (sides[2] - sides[0]) * (sides[3] - sides[1])
    largest = np.zeros(len(tried))  # of each box's overlaps with the kept ones
    kept: list[int] = []
    while len(tried):
        kept.append(int(tried[0]))
        if eta < 1 and overlap > 0.5:
            overlap *= eta
        np.maximum(largest, _overlaps(sides, areas), out=largest)
        # What is dropped would not be kept later: `overlap` only falls, and `largest` only grows.
        free = np.flatnonzero(largest[1:] <= overlap) + 1
        tried, sides, areas, largest = tried[free], sides[:, free], areas[free], largest[free]
    return kept


def _overlaps(sides: Array, areas: Array) -> Array:
    """Intersection over union of the first box with each, of rows xmin, ymin, xmax, ymax; 0 where they do not meet."""
    width = np.minimum(sides[2, 0], sides[2]) - np.maximum(sides[0, 0], sides[0])
    height = np.minimum(sides[3, 0], sides[3]) - np.maximum(sides[1, 0], sides[1])
    common = width * height
    union = areas[0] + areas - common
    return np.divide(common, union, out=np.zeros_like(common), where=(width > 0) & (height > 0))
