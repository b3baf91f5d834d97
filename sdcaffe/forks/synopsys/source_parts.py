"""Functions that Synopsys' layers are written with as PyTorch source. Nothing else uses them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sdcaffe.forks.rcnn.source_parts import moved_anchors
from sdcaffe.forks.suppression_parts import not_overlapping


def eps_inside(x: Tensor, axes: list[int], eps: float) -> Tensor:
    """Mean 0 and standard deviation 1 over `axes`; eps is added to the variance."""
    centred = x - torch.mean(x, axes, keepdim=True)
    return centred / torch.sqrt(torch.mean(torch.square(centred), axes, keepdim=True) + eps)


@torch.jit.script_if_tracing
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
    order = (score.shape[0] - 1) - score.flip(0).argsort(descending=True, stable=True)
    boxes, score = boxes[order], score[order]
    areas = (boxes[:, 2:] - boxes[:, :2] + 1).prod(1)
    apart = not_overlapping(boxes, areas, torch.zeros_like(order), 1, overlap, last=1, gap=1, most=kept)
    found = F.pad(boxes[apart], (1, 0))
    if not torch.jit.is_scripting():
        torch._check(found.shape[0] > 0)  # the best always stays, which torch.export cannot know
    return found, score[apart].unsqueeze(1)


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
