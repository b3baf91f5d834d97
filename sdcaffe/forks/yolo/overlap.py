"""How much boxes (middle and size) overlap, in YOLO's four measures, and the slopes of these. Holds no layer type.

Of MobileNet-YOLO (eric612/MobileNet-YOLO@69b4441), which has them of darknet.
"""

from __future__ import annotations

import enum
import math

import torch
from torch import Tensor


class IouLoss(enum.IntEnum):
    IOU = 0
    GIOU = 1
    MSE = 2
    DIOU = 3
    CIOU = 4


def _sides(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Left, top, right and bottom."""
    x, y, w, h = boxes.unbind(-1)
    return x - w / 2, y - h / 2, x + w / 2, y + h / 2


def intersection(some: Tensor, others: Tensor) -> Tensor:
    """The area that boxes (..., 4) share."""
    left, top, right, bottom = _sides(some)
    left2, top2, right2, bottom2 = _sides(others)
    w = torch.minimum(right, right2) - torch.maximum(left, left2)
    h = torch.minimum(bottom, bottom2) - torch.maximum(top, top2)
    return torch.where((w < 0) | (h < 0), 0, w * h)


def iou(some: Tensor, others: Tensor) -> Tensor:
    """Intersection over union."""
    common = intersection(some, others)
    return common / (some[..., 2] * some[..., 3] + others[..., 2] * others[..., 3] - common)


def overlap(some: Tensor, others: Tensor, kind: int) -> Tensor:
    """The measure of `kind`: intersection over union, less a penalty of GIOU, DIOU or CIOU."""
    plain = iou(some, others)
    if kind in (IouLoss.IOU, IouLoss.MSE):
        return plain
    left, top, right, bottom = _sides(some)
    left2, top2, right2, bottom2 = _sides(others)
    w = torch.maximum(right, right2) - torch.minimum(left, left2)
    h = torch.maximum(bottom, bottom2) - torch.minimum(top, top2)
    if kind == IouLoss.GIOU:
        hull = w * h
        union = some[..., 2] * some[..., 3] + others[..., 2] * others[..., 3] - intersection(some, others)
        penalty = (hull - union) / hull
    else:
        hull = w * w + h * h
        penalty = (some[..., :2] - others[..., :2]).square().sum(-1) / hull
        if kind == IouLoss.DIOU:
            penalty = penalty**0.6
        else:
            unlike = 4 / math.pi**2 * (_angle(others) - _angle(some)).square()
            penalty = penalty + unlike / (1 - plain + unlike + 0.000001) * unlike
    return torch.where(hull == 0, plain, plain - penalty)


def _angle(boxes: Tensor) -> Tensor:
    return torch.atan(boxes[..., 2] / boxes[..., 3])


def slopes(pred: Tensor, truth: Tensor, kind: int) -> Tensor:
    """How `overlap` grows with the predicted x, y, w and h, (m, 4), as the fork says: twice as fast with w and h.

    For IOU and MSE that of the plain overlap. DIOU's is that of a penalty without the exponent 0.6.
    """
    pred = torch.cat([pred[:, :2], torch.where(pred[:, 2:] == 0, 1, pred[:, 2:])], 1)
    low, high = pred[:, :2] - pred[:, 2:] / 2, pred[:, :2] + pred[:, 2:] / 2  # (m, 2): x, then y
    low2, high2 = truth[:, :2] - truth[:, 2:] / 2, truth[:, :2] + truth[:, 2:] / 2
    size, size2 = high - low, high2 - low2
    meet = torch.minimum(high, high2) - torch.maximum(low, low2)
    common = meet.prod(1, keepdim=True)
    union = size.prod(1, keepdim=True) + size2.prod(1, keepdim=True) - common
    hull = torch.maximum(high, high2) - torch.minimum(low, low2)
    # How the area, the common area, the union and the hull grow as the low and the high side of each axis move.
    area = torch.stack([-size.flip(1), size.flip(1)])
    inside = torch.stack([-meet.flip(1) * (low > low2), meet.flip(1) * (high < high2)])
    union_slope = area - inside
    found = torch.where(union > 0, (union * inside - common * union_slope) / (union * union), 0)
    found = torch.where(size > 0, found, found.flip(0))
    found[1] = torch.where(size > 0, found[1], found[0])
    apart = (meet <= 0).any(1, keepdim=True)
    if kind == IouLoss.GIOU:
        whole = hull.prod(1, keepdim=True)
        grown = torch.stack([-hull.flip(1) * (low < low2), hull.flip(1) * (high > high2)])
        added = (whole * union_slope - union * grown) / (whole * whole)
        found = torch.where(apart, added, torch.where(whole > 0, found + added, found))
    result = torch.cat([found[0] + found[1], found[1] - found[0]], 1)
    if kind in (IouLoss.DIOU, IouLoss.CIOU):
        added = _of_distance(pred, truth, hull, low < low2, high > high2)
        if kind == IouLoss.CIOU:
            added = added + _of_angle(pred, truth, common / union)
        result = torch.where(apart, added, torch.where((hull > 0).any(1, keepdim=True), result + added, result))
    return result


def _of_distance(pred: Tensor, truth: Tensor, hull: Tensor, lower: Tensor, higher: Tensor) -> Tensor:
    """Of the squared distance of the middles over the squared diagonal of both boxes' hull."""
    diagonal = hull.square().sum(1, keepdim=True)
    away = truth[:, :2] - pred[:, :2]
    distance = away.square().sum(1, keepdim=True)
    moved = higher.to(hull.dtype) - lower.to(hull.dtype)  # how the hull grows with the middle, and with the size:
    widened = 0.5 * (higher.to(hull.dtype) + lower.to(hull.dtype))
    middle = (2 * away * diagonal - 2 * hull * moved * distance) / (diagonal * diagonal)
    return torch.cat([middle, 2 * hull * widened * distance / (diagonal * diagonal)], 1)


def _of_angle(pred: Tensor, truth: Tensor, plain: Tensor) -> Tensor:
    """Of the weighted squared difference of the aspect ratios' angles; `plain` is I / U, (m, 1)."""
    turned = (_angle(truth) - _angle(pred)).unsqueeze(1)
    unlike = 4 / math.pi**2 * turned.square()
    weight = unlike / (1 - plain + unlike + 0.000001)
    wide = 8 / math.pi**2 * turned * weight
    return torch.cat([torch.zeros_like(pred[:, :2]), wide * pred[:, 3:], -wide * pred[:, 2:3]], 1)
