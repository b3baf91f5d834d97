"""Functions that Synopsys' layers are written with as PyTorch source. Nothing else uses them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sdcaffe.forks.rcnn.source_parts import moved_anchors


def eps_inside(x: Tensor, axes: list[int], eps: float) -> Tensor:
    """Mean 0 and standard deviation 1 over `axes`; eps is added to the variance."""
    centred = x - torch.mean(x, axes, keepdim=True)
    return centred / torch.sqrt(torch.mean(torch.square(centred), axes, keepdim=True) + eps)


def regions(
    scores: Tensor,
    deltas: Tensor,
    image: Tensor,
    anchors: list[list[float]],
    stride: int,
    least: float,
    kept: int,
    overlap: float,
) -> tuple[Tensor, Tensor]:
    """Regions (r, 5) of one image and their scores (r, 1), best first, none overlapping a better one too much.

    `scores` (1, 2 * anchors, h, w), of which the second half counts; `deltas` (1, 4 * anchors, h, w); `image`: height,
    width and scale. Boxes below `least` times the scale are dropped, but for the last. At most `kept` are kept that
    overlap none before by more than `overlap`; of equal scores the later box comes first.
    """
    boxes, score, large = sized_boxes(scores, deltas, image, anchors, stride, least)
    boxes, score = boxes[large], score[large]
    order = (score.numel() - 1) - score.flip(0).argsort(descending=True, stable=True)
    boxes, score = boxes[order], score[order]
    areas = (boxes[:, 2:] - boxes[:, :2] + 1).prod(1)
    left = torch.arange(boxes.shape[0])
    found = [left[:0]]
    while left.numel() > 0 and len(found) <= kept:
        best, left = left[:1], left[1:]
        found.append(best)
        corner = torch.minimum(boxes[best, 2:], boxes[left, 2:]) - torch.maximum(boxes[best, :2], boxes[left, :2])
        common = (corner + 1).clamp(min=0).prod(1)
        left = left[common / (areas[best] + areas[left] - common) <= overlap]
    index = torch.cat(found)
    return torch.cat([torch.zeros_like(boxes[index, :1]), boxes[index]], 1), score[index].unsqueeze(1)


def sized_boxes(
    scores: Tensor, deltas: Tensor, image: Tensor, anchors: list[list[float]], stride: int, least: float
) -> tuple[Tensor, Tensor, Tensor]:
    """All boxes (m, 4), cut to the image, their scores (m), and which are large enough, or the last."""
    info, count = image.flatten(), len(anchors)
    sides = moved_anchors(deltas, anchors, stride).reshape(-1, count, 4).transpose(0, 1).reshape(-1, 4)
    boxes = torch.minimum(sides, torch.stack([info[1], info[0], info[1], info[0]]).floor() - 1).clamp(min=0)
    large = ((boxes[:, 2:] - boxes[:, :2] + 1) >= least * info[2]).all(1)
    last = torch.arange(large.shape[0], device=large.device) == large.shape[0] - 1
    return boxes, scores[0, count:].flatten(), large | last


class EpsBehindNorm(nn.Module):
    """Batch norm by stored statistics, whose eps is added to the standard deviation."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.register_buffer("num_batches_tracked", torch.tensor(0))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        shape = [1, -1] + [1] * (x.dim() - 2)
        return (x - self.running_mean.reshape(shape)) / (torch.sqrt(self.running_var.reshape(shape)) + self.eps)
