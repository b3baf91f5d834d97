"""Boxes of a detector: offsets from prior boxes made boxes, and those that overlap better ones left out.

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


def overlaps(box: Array, boxes: Array) -> Array:
    """Intersection over union of one box (4,) with each of others (m, 4); 0 where they do not meet."""
    first, last = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    sides = last - first
    meet = (sides > 0).all(1)
    common = np.where(meet, sides[:, 0] * sides[:, 1], 0)
    union = (box[2] - box[0]) * (box[3] - box[1]) + np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) - common
    return np.where(meet, common / np.where(meet, union, 1), 0)


def suppress(
    boxes: Array, scores: Array, *, confidence: float, overlap: float, top_k: int = -1, eta: float = 1.0
) -> list[int]:
    """Indices of the boxes (m, 4) to keep, best score first: non-maximum suppression as SSD does it.

    Of scores above `confidence` the best `top_k` (-1: all) are tried in turn, and kept if their overlap with
    each one kept before is at most `overlap`, which is multiplied by `eta` after each that is kept as long
    as it is above 0.5.
    """
    tried = np.flatnonzero(scores > confidence)
    tried = tried[np.argsort(-scores[tried], kind="stable")]
    if top_k > -1:
        tried = tried[:top_k]
    boxes = boxes[tried]
    kept: list[int] = []
    largest = np.zeros(len(tried))  # of each box's overlaps with the kept ones
    at = 0
    while (free := np.flatnonzero(largest[at:] <= overlap)).size:
        at += int(free[0])
        kept.append(int(tried[at]))
        if eta < 1 and overlap > 0.5:
            overlap *= eta
        np.maximum(largest, overlaps(boxes[at], boxes), out=largest)
        at += 1
    return kept
