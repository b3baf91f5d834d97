"""What YOLO's detection layers and Reorg compute with and become in PyTorch source: functions of torch alone."""

from __future__ import annotations

import torch
from torch import Tensor

from sdcaffe.forks.suppression_parts import not_overlapping


def yolo_grid(x: Tensor, anchors: list[list[float]], unit: float, gaussian: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes (m, 4) of middle and size as parts of the image, objects' scores (m, 1) and the classes' raw numbers.

    `x` is (n, anchors * numbers, h, w); an anchor's width and height are in pixels of an image `unit` times the map. m
    counts by item, row, column and anchor. With `gaussian` each of a box's four numbers has its doubt behind it, which
    the score is lowered by: that of y once, that of x, as in the fork, twice.
    """
    n, h, w = x.shape[0], x.shape[2], x.shape[3]
    sizes = torch.tensor(anchors, dtype=torch.float32).to(x)
    values = x.reshape(n, len(anchors), -1, h, w).permute(0, 3, 4, 1, 2)
    step = 2 if gaussian else 1
    column = torch.arange(w, device=x.device, dtype=x.dtype).reshape(1, 1, -1, 1)
    row = torch.arange(h, device=x.device, dtype=x.dtype).reshape(1, -1, 1, 1)
    middle_x = (column + values[..., 0].sigmoid()) / w
    middle_y = (row + values[..., step].sigmoid()) / h
    wide = values[..., 2 * step].exp() * sizes[:, 0] / (w * unit)
    high = values[..., 3 * step].exp() * sizes[:, 1] / (h * unit)
    boxes = torch.stack([middle_x, middle_y, wide, high], -1)
    score = values[..., 4 * step].sigmoid()
    if gaussian:
        doubt = values[..., 1:8:2].sigmoid()
        score = score * (4 - 2 * doubt[..., 0] - doubt[..., 1] - doubt[..., 2] - doubt[..., 3]) / 4
    return boxes.reshape(-1, 4), score.reshape(-1, 1), values[..., 4 * step + 1 :].flatten(0, 3)


def yolo_kept(boxes: Tensor, overlap: float) -> Tensor:
    """Which of the boxes (m, 4) of middle and size, best first, overlap no kept one before by `overlap` or more."""
    half = boxes[:, 2:] / 2
    sides = torch.cat([boxes[:, :2] - half, boxes[:, :2] + half], 1)
    sets = torch.zeros_like(boxes[:, 0], dtype=torch.int64)
    return not_overlapping(sides, boxes[:, 2] * boxes[:, 3], sets, 1, overlap, closed=True)


def yolo_rows(boxes: Tensor, scores: Tensor, labels: Tensor, overlap: float, n: int) -> Tensor:
    """The rows (1, 1, m, 7) of boxes (k, 4), their scores and labels (k): best first, none overlapping a better one.

    A row is 0, label, score, xmin, ymin, xmax, ymax; without any box there is one for each of n images, of -1s.
    """
    order = scores.argsort(descending=True, stable=True)
    boxes, scores, labels = boxes[order], scores[order], labels[order].to(boxes.dtype)
    kept, half = yolo_kept(boxes, overlap), boxes[:, 2:] / 2
    facts = torch.stack([torch.zeros_like(scores), labels, scores], 1)
    rows = torch.cat([facts, boxes[:, :2] - half, boxes[:, :2] + half], 1)[kept]
    none = kept.any().logical_not().expand(n).nonzero().to(boxes.dtype)
    return torch.cat([rows, torch.nn.functional.pad(none, (0, 6), value=-1.0)]).unsqueeze(0).unsqueeze(0)


def yolo_likeliest(x: Tensor, anchors: list[list[float]], classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """The boxes (m, 4) of one map of version 2, the score (m) of the likeliest class of each, and its label, from 1."""
    boxes, score, numbers = yolo_grid(x, anchors, 1.0, False)
    best, label = numbers[:, :classes].softmax(1).max(1)
    return boxes, score[:, 0] * best, label + 1


def yolo_all(x: Tensor, anchors: list[list[float]], unit: float, classes: int, gaussian: bool) -> tuple[Tensor, Tensor]:
    """The boxes (m, 4) of one map of version 3, and their scores (m, classes)."""
    boxes, score, numbers = yolo_grid(x, anchors, unit, gaussian)
    return boxes, numbers[:, :classes].sigmoid() * score


@torch.jit.script_if_tracing
def yolo_v2_rows(maps: list[Tensor], anchors: list[list[float]], classes: int, least: float, overlap: float) -> Tensor:
    """YOLO version 2: of each box its likeliest class, where that times the object's score is `least` or more."""
    boxes, scores, labels = [], [], []
    for x in maps:
        found, score, label = yolo_likeliest(x, anchors, classes)
        kept = score >= least
        boxes.append(found[kept])
        scores.append(score[kept])
        labels.append(label[kept])
    return yolo_rows(torch.cat(boxes), torch.cat(scores), torch.cat(labels), overlap, maps[0].shape[0])


@torch.jit.script_if_tracing
def yolo_v3_rows(
    maps: list[Tensor],
    anchors: list[list[list[float]]],
    units: list[float],
    classes: int,
    least: float,
    overlap: float,
    gaussian: bool,
) -> Tensor:
    """YOLO version 3: of each box every class whose probability times the object's score is above `least`."""
    boxes, scores, labels = [], [], []
    for i, x in enumerate(maps):
        found, score = yolo_all(x, anchors[i], units[i], classes, gaussian)
        box, label = (score > least).nonzero().unbind(1)
        boxes.append(found[box])
        scores.append(score[box, label])
        labels.append(label + 1)
    return yolo_rows(torch.cat(boxes), torch.cat(scores), torch.cat(labels), overlap, maps[-1].shape[0])


def reorg(x: Tensor, stride: int, reverse: bool) -> Tensor:
    """Squares of stride by stride pixels to channels, or back, in darknet's order: c counts inside the squares.

    Forward the moves are those of the reverse, for the bottom's channels: the numbers stand as if the bottom had a
    stride^2-th of its channels, and are then read as the top.
    """
    n, c, h, w = x.shape
    few = c // (stride * stride)
    if reverse:
        squares = x.reshape(n, stride, stride, few, h, w).permute(0, 3, 4, 1, 5, 2)
        return squares.reshape(n, few, h * stride, w * stride)
    squares = x.reshape(n, few, h, stride, w, stride).permute(0, 3, 5, 1, 2, 4)
    return squares.reshape(n, c * stride * stride, h // stride, w // stride)
