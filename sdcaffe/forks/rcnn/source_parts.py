"""What R-FCN's and Faster R-CNN's layers compute with and become in PyTorch source: functions of torch alone."""

from __future__ import annotations

import torch
from torch import Tensor


def position_sensitive_pool(x: Tensor, regions: Tensor, scale: float, group: int) -> Tensor:
    """Means of a grid over regions, cell (i, j) of each c from channel (c * group + i) * group + j.

    `x` (n, c * group^2, h, w), `regions` (r, 5): item, x1, y1, x2, y2; the result is (r, c, group, group). The
    corners are rounded, the last pixel counted in, and then times `scale`; a side is at least 0.1. Empty cells are 0.
    """
    height, width = x.shape[2], x.shape[3]
    regions = regions.reshape(-1, 5)
    corners = torch.trunc(regions[:, 1:] + torch.sign(regions[:, 1:]) * 0.5)  # a half goes away from 0
    start, end = corners[:, :2] * scale, (corners[:, 2:] + 1) * scale
    size = (end - start).clamp(min=0.1) / group
    cell = torch.arange(group, device=x.device, dtype=x.dtype)
    first = torch.floor(cell * size.unsqueeze(2) + start.unsqueeze(2)).long()  # (r, 2, group): x, then y
    last = torch.ceil((cell + 1) * size.unsqueeze(2) + start.unsqueeze(2)).long()
    left, right = first[:, 0].clamp(0, width), last[:, 0].clamp(0, width)
    top, bottom = first[:, 1].clamp(0, height), last[:, 1].clamp(0, height)
    # The sum over a cell is a difference of four sums from the corner on; in float64, so that nothing is lost.
    sums = torch.nn.functional.pad(x.double().cumsum(2).cumsum(3), (1, 0, 1, 0))
    sums = sums.reshape(x.shape[0], -1, group, group, height + 1, width + 1).permute(0, 2, 3, 4, 5, 1)
    item = regions[:, 0].long().reshape(-1, 1, 1)
    i, j = torch.arange(group, device=x.device).reshape(-1, 1), torch.arange(group, device=x.device)
    top, bottom = top.unsqueeze(2), bottom.unsqueeze(2)
    left, right = left.unsqueeze(1), right.unsqueeze(1)
    total = sums[item, i, j, bottom, right] - sums[item, i, j, top, right]
    total = total - sums[item, i, j, bottom, left] + sums[item, i, j, top, left]
    area = (bottom - top).clamp(min=0) * (right - left).clamp(min=0)
    means = total / area.clamp(min=1).unsqueeze(3)
    means = torch.where(area.unsqueeze(3) > 0, means, torch.zeros_like(means))
    return means.permute(0, 3, 1, 2).to(x.dtype)


@torch.jit.script_if_tracing
def proposals(
    scores: Tensor,
    deltas: Tensor,
    image: Tensor,
    anchors: list[list[float]],
    stride: int,
    least: int,
    tried: int,
    kept: int,
    overlap: float,
) -> tuple[Tensor, Tensor]:
    """Regions (r, 5) of one image and their scores (r), best first, none overlapping a better one too much.

    `scores` (1, 2 * anchors, h, w), of which the second half counts; `deltas` (1, 4 * anchors, h, w); `image`: height,
    width and scale (of each side, or one of both), and whatever stands behind. Boxes below `least` times the scale have
    the score 0. Of all boxes the best `tried` are looked at and at most `kept` kept that overlap no better one by more
    than `overlap`.
    """
    boxes, score = scored_boxes(scores, deltas, image, anchors, stride, least)
    order = exchange_sorted(score, tried)[:tried]
    boxes, score = boxes[order], score[order]
    index = apart_from_better(boxes, kept, overlap)
    return torch.cat([torch.zeros_like(boxes[index, :1]), boxes[index]], 1), score[index]


def scored_boxes(
    scores: Tensor, deltas: Tensor, image: Tensor, anchors: list[list[float]], stride: int, least: int
) -> tuple[Tensor, Tensor]:
    """All boxes (m, 4), cut to the image, and their scores (m), 0 of those that are too small."""
    info = image.flatten()
    boxes = moved_anchors(deltas, anchors, stride)
    limit = torch.stack([info[1], info[0], info[1], info[0]]) - 1
    boxes = torch.minimum(boxes, limit).clamp(min=0)
    smallest = torch.stack([info[min(3, info.numel() - 1)], info[2]]) * least  # of the width, of the height
    large = (boxes[:, 2:] - boxes[:, :2] + 1 >= smallest).all(1)
    return boxes, scores[0, len(anchors) :].permute(1, 2, 0).flatten() * large.to(scores.dtype)


def moved_anchors(deltas: Tensor, anchors: list[list[float]], stride: int) -> Tensor:
    """Boxes (h * w * anchors, 4), by row, column and anchor, of `deltas` (1, 4 * anchors, h, w)."""
    boxes = torch.tensor(anchors, dtype=torch.float32).to(deltas)
    height, width = deltas.shape[2], deltas.shape[3]
    x = (torch.arange(width, device=deltas.device) * stride).to(deltas.dtype)
    y = (torch.arange(height, device=deltas.device) * stride).to(deltas.dtype).unsqueeze(1)
    shift = torch.stack([x.expand(height, width), y.expand(height, width)], 2)
    boxes = (boxes + torch.cat([shift, shift], 2).unsqueeze(2)).reshape(-1, 4)
    moves = deltas[0].reshape(len(anchors), 4, height, width).permute(2, 3, 0, 1).reshape(-1, 4)
    size = boxes[:, 2:] - boxes[:, :2] + 1
    middle = moves[:, :2] * size + (boxes[:, :2] + 0.5 * size)
    half = 0.5 * (moves[:, 2:].exp() * size)
    return torch.cat([middle - half, middle + half], 1)


def exchange_sorted(scores: Tensor, most: int) -> Tensor:
    """Places of the scores (m), the `most` largest first; equal ones stand as PVANet's quicksort leaves them.

    Its pivot is a range's first; numbers on the wrong sides of it are exchanged in pairs from both ends.
    """
    order = torch.arange(scores.numel(), device=scores.device)
    ranges = [(0, scores.numel() - 1)]
    while len(ranges) > 0:
        start, end = ranges.pop()
        places = order[start : end + 1].clone()
        values = scores[places]
        different = torch.unique(values).numel()
        if different == values.numel():
            order[start : end + 1] = places[values.argsort(descending=True)]
        elif different > 1:
            small = (values < values[0]).nonzero().flatten()
            large = (values > values[0]).nonzero().flatten().flip(0)
            pairs = min(small.numel(), large.numel())
            count = int((small[:pairs] < large[:pairs]).sum())
            left, right = small[:count], large[:count]
            exchanged = places.clone()
            exchanged[left], exchanged[right] = places[right], places[left]
            middle = 0
            if count < large.numel():
                middle = int(large[count])
            if count > 0:
                middle = max(middle, int(small[count - 1]))
            pivot, other = exchanged[0].clone(), exchanged[middle].clone()
            exchanged[0], exchanged[middle] = other, pivot
            order[start : end + 1] = exchanged
            middle += start
            if start < middle - 1:
                ranges.append((start, middle - 1))
            if middle + 1 < most and middle + 1 < end:
                ranges.append((middle + 1, end))
    return order


def apart_from_better(boxes: Tensor, most: int, overlap: float) -> Tensor:
    """Places of at most `most` boxes (m, 4), best first, that overlap no kept one before by more than `overlap`.

    The last pixel is part of a box.
    """
    areas = (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)
    left = torch.arange(boxes.shape[0], device=boxes.device)
    found = [left[:0]]
    while left.numel() > 0 and len(found) <= most:
        best, left = left[:1], left[1:]
        found.append(best)
        one, others = boxes[best], boxes[left]
        apart = (one[:, :2] > others[:, 2:]).any(1) | (one[:, 2:] < others[:, :2]).any(1)
        sides = torch.minimum(one[:, 2:], others[:, 2:]) - torch.maximum(one[:, :2], others[:, :2]) + 1
        common = sides.clamp(min=0).prod(1)
        left = left[apart | (common / (areas[best] + areas[left] - common) <= overlap)]
    return torch.cat(found)
