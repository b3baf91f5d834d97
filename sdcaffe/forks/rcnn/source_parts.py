"""What R-FCN's and Faster R-CNN's layers compute with and become in PyTorch source: functions of torch alone."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from sdcaffe.forks.suppression_parts import not_overlapping


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
    sums = F.pad(x.double().cumsum(2).cumsum(3), (1, 0, 1, 0))
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
    areas = (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)
    apart = not_overlapping(boxes, areas, torch.zeros_like(order), 1, overlap, last=1, most=kept)
    regions = F.pad(boxes[apart], (1, 0))
    if not torch.jit.is_scripting():
        torch._check(regions.shape[0] > 0)  # the best always stays, which torch.export cannot know
    return regions, score[apart]


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

    Its pivot is a range's first; numbers on the wrong sides of it are exchanged in pairs from both ends. All ranges are
    parted at once. Those without equal numbers need no pivots: they are sorted in the end.
    """
    m = scores.shape[0]
    order = torch.arange(m, device=scores.device)
    start, end = torch.zeros_like(order), torch.full_like(order, m - 1)
    largest = scores.sort(descending=True)[0]
    equal = (largest[1:] == largest[:-1]).long()
    equal = torch.cat([torch.zeros_like(order[:1]), equal.cumsum(0)])  # how many are as the one before, up to here
    exporting = False
    if not torch.jit.is_scripting():
        exporting = torch.compiler.is_exporting()
        if exporting:
            order, start, end = exported_sort(order, start, end, scores, equal, most)
    if not exporting:
        left = unsorted_ranges(start, end, equal, most).nonzero().squeeze(1)
        while left.shape[0] > 0:
            here = torch.arange(left.shape[0], device=left.device) - left  # a range stands in `left` whole
            first, final = here + start[left], here + end[left]
            parted, first, final = parted_ranges(order[left], first, final, scores, left >= 0)
            order[left], start[left], end[left] = parted, left[first], left[final]
            left = left[unsorted_ranges(start[left], end[left], equal, most)]
    values = scores[order]
    inner = values.argsort(descending=True, stable=True)
    inner = inner[start[inner].argsort(stable=True)]
    return torch.where((start < most) & (equal[start] == equal[end]), order[inner], order)


def unsorted_ranges(start: Tensor, end: Tensor, equal: Tensor, most: int) -> Tensor:
    """Which places (m) lie in a range, from `start` to `end`, with equal numbers and others; see exchange_sorted."""
    pairs = equal[end] - equal[start]
    return (start < most) & (pairs > 0) & (pairs < end - start)


def parted_ranges(
    order: Tensor, start: Tensor, end: Tensor, scores: Tensor, wanted: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The places in a better `order`, and their ranges, once each range `wanted` is parted by its first number."""
    m = order.shape[0]
    place = torch.arange(m, device=order.device)
    values = scores.index_select(0, order)
    first = values.index_select(0, start)
    small, large = wanted & (values < first), wanted & (values > first)
    before, behind = small.cumsum(0), large.cumsum(0)
    ends, nowhere = behind.index_select(0, end), torch.full_like(place, m)
    # The k-th small number of a range from the left, and the k-th large one from the right, at the k-th place of it.
    left = torch.full([m + 1], -1, device=order.device)
    left = left.scatter(0, torch.where(small, start + before - before.index_select(0, start) - 1, nowhere), place)[:m]
    right = torch.full([m + 1], -1, device=order.device)
    right = right.scatter(0, torch.where(large, start + ends - behind, nowhere), place)[:m]
    pairs = (left >= 0) & (left < right)
    moved = torch.arange(m + 1, device=order.device)
    moved = moved.scatter(0, torch.where(pairs, left, nowhere), right)
    moved = moved.scatter(0, torch.where(pairs, right, nowhere), left)[:m]
    # The pivot goes between the two: where the first number stands that was not exchanged, if it is large.
    sums = pairs.long().cumsum(0)
    count = sums.index_select(0, end) - (sums - pairs.long()).index_select(0, start)
    next_large = right.index_select(0, (start + count).clamp(max=m - 1))
    next_large = torch.where(count < ends - behind.index_select(0, start), next_large, start)
    last_small = torch.where(count > 0, left.index_select(0, (start + count - 1).clamp(min=0)), start)
    middle = torch.where(wanted, torch.maximum(next_large, last_small), start)
    moved = torch.where(
        place == middle, moved.index_select(0, start), torch.where(place == start, moved.index_select(0, middle), moved)
    )
    return (
        order.index_select(0, moved),
        torch.where(wanted & (place >= middle), torch.minimum(middle + (place > middle).long(), end), start),
        torch.where(wanted & (place <= middle), torch.maximum(middle - (place < middle).long(), start), end),
    )


def exported_sort(
    order: Tensor, start: Tensor, end: Tensor, scores: Tensor, equal: Tensor, most: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The loop of `exchange_sorted` as torch.export takes it."""

    def more(order: Tensor, start: Tensor, end: Tensor, scores: Tensor, equal: Tensor) -> Tensor:
        return unsorted_ranges(start, end, equal, most).any()

    def step(order: Tensor, start: Tensor, end: Tensor, scores: Tensor, equal: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return parted_ranges(order, start, end, scores, unsorted_ranges(start, end, equal, most))

    order, start, end = torch.ops.higher_order.while_loop(more, step, (order, start, end), (scores, equal))
    return order, start, end


SORT = (unsorted_ranges, parted_ranges, exported_sort, exchange_sorted)  # what the last is in a file of its own
