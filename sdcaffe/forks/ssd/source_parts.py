"""What SSD's layers become in PyTorch source: classes and functions that use torch and nothing else."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sdcaffe.forks.suppression_parts import not_overlapping


class Normalize(nn.Module):
    """L2 normalisation of items, or of positions, times a learned weight of `shape`; eps under the root or behind."""

    def __init__(self, *shape: int, across_spatial: bool = False, eps: float = 1e-10, eps_behind: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(shape))
        self.across_spatial, self.eps, self.eps_behind = across_spatial, eps, eps_behind

    def forward(self, x: Tensor) -> Tensor:
        square = x.square().flatten(1).sum(1) if self.across_spatial else x.square().sum(1)
        norm = square.sqrt() + self.eps if self.eps_behind else (square + self.eps).sqrt()
        norm = norm.reshape([-1] + [1] * (x.dim() - 1)) if self.across_spatial else norm.unsqueeze(1)
        return x / norm * self.weight.reshape([-1] + [1] * (x.dim() - 2))


def prior_boxes(
    feature: Tensor,
    image: Tensor,
    sizes: list[list[float]],
    variances: list[float],
    size: list[float],
    step: list[float],
    offset: float,
    clip: bool,
    insets: list[float] | None = None,
    y_first: bool = False,
) -> Tensor:
    """Boxes of `sizes` (width, height) around each cell, and their variances: (1, 2, boxes * 4).

    `size` and `step` are the image's and the cells' height and width where they are given, else empty. `insets` are
    what is taken off each side of the boxes, fractions of the image; `y_first` has ymin, xmin, ymax, xmax.
    """
    height, width = feature.shape[2], feature.shape[3]
    high = float(size[0]) if len(size) > 0 else float(image.shape[2])
    wide = float(size[1]) if len(size) > 0 else float(image.shape[3])
    down = float(step[0]) if len(step) > 0 else high / height
    across = float(step[1]) if len(step) > 0 else wide / width
    y = (torch.arange(height, device=feature.device, dtype=torch.float64) + offset) * down
    x = (torch.arange(width, device=feature.device, dtype=torch.float64) + offset) * across
    middle = torch.stack([x.expand(height, width), y.unsqueeze(1).expand(height, width)], -1).unsqueeze(2)
    half = torch.tensor(sizes, device=feature.device, dtype=torch.float64) / 2
    whole = torch.tensor([wide, high, wide, high], device=feature.device, dtype=torch.float64)
    boxes = torch.cat([middle - half, middle + half], -1) / whole
    if insets is not None:
        inset = torch.tensor(insets, device=feature.device, dtype=torch.float64).unsqueeze(1)
        boxes = boxes + torch.cat([inset, inset, -inset, -inset], 1)
    if y_first:
        boxes = boxes[:, :, :, [1, 0, 3, 2]]
    if clip:
        boxes = boxes.clamp(0, 1)
    boxes = boxes.reshape(-1).to(feature.dtype)
    given = torch.tensor(variances, device=feature.device, dtype=feature.dtype)
    return torch.stack([boxes, given.repeat(boxes.numel() // given.numel())]).unsqueeze(0)


def detections(
    location: Tensor,
    confidence: Tensor,
    prior: Tensor,
    classes: int,
    overlap: float,
    background: int = 0,
    code: int = 1,
    encoded: bool = False,
    clip: bool = False,
    least: float = float("-inf"),
    top_k: int = -1,
    eta: float = 1.0,
    keep: int = -1,
) -> Tensor:
    """From offsets, confidences and prior boxes to the rows (1, 1, m, 7) of what is detected.

    A row is image, label, confidence, xmin, ymin, xmax, ymax; without any there is one an image: its number, six -1.
    """
    n, count = location.shape[0], prior.shape[2] // 4
    boxes = decoded(location.reshape(n, count, -1, 4), prior, code, encoded)
    if clip:
        boxes = boxes.clamp(0, 1)
    scores = confidence.reshape(n, count, classes)
    return detected(boxes, scores, background, overlap, least, top_k, eta, keep).unsqueeze(0).unsqueeze(0)


def decoded(offsets: Tensor, prior: Tensor, code: int, encoded: bool) -> Tensor:
    """The boxes of offsets (n, boxes, classes, 4) from PriorBox's (1, 2, boxes * 4)."""
    both = prior.reshape(2, -1, 1, 4)
    priors, variances = both[0], both[1]
    if not encoded:
        offsets = offsets * variances
    first, last = priors[..., :2], priors[..., 2:]
    size = last - first
    if code == 1:
        return priors + offsets
    if code == 3:
        return priors + offsets * torch.cat([size, size], -1)
    centre = offsets[..., :2] * size + (first + last) / 2
    half = offsets[..., 2:].exp() * size / 2
    return torch.cat([centre - half, centre + half], -1)


@torch.jit.script_if_tracing
def detected(
    boxes: Tensor,
    scores: Tensor,
    background: int,
    overlap: float,
    least: float,
    top_k: int,
    eta: float,
    keep: int,
) -> Tensor:
    """The rows (r, 7) of boxes (n, m, classes or 1, 4) and their scores (n, m, classes); see detections."""
    n, classes = scores.shape[0], scores.shape[2]
    tried = (scores > least) & (torch.arange(classes, device=scores.device) != background)
    image, label, place = tried.transpose(1, 2).nonzero().unbind(1)
    score = scores[image, place, label]
    order = score.argsort(descending=True, stable=True)
    order = order[(image * classes + label)[order].argsort(stable=True)]
    if top_k > -1:
        order = order[places_in_sets((image * classes + label)[order]) < top_k]
    image, label, score = image[order], label[order], score[order]
    own = boxes[image, place[order], label if boxes.shape[2] > 1 else torch.zeros_like(label)]
    areas = (own[:, 2] - own[:, 0]) * (own[:, 3] - own[:, 1])
    kept = not_overlapping(own, areas, image * classes + label, n * classes, overlap, eta=eta).nonzero().squeeze(1)
    if keep > -1:
        order = score[kept].argsort(descending=True, stable=True)
        order = order[image[kept][order].argsort(stable=True)]
        kept = kept[order[places_in_sets(image[kept]) < keep].sort()[0]]
    facts = torch.stack([image.to(boxes.dtype), label.to(boxes.dtype), score], 1)
    rows = torch.cat([facts, own], 1)[kept]
    none = torch.ones_like(kept, dtype=torch.bool).any().logical_not().expand(n).nonzero().to(boxes.dtype)
    return torch.cat([rows, F.pad(none, (0, 6), value=-1.0)])


def places_in_sets(sets: Tensor) -> Tensor:
    """Of each of the numbers `sets` (m), which rise, how many of the same stand before it."""
    return torch.arange(sets.shape[0], device=sets.device) - torch.searchsorted(sets, sets)


def put_together(
    confidences: list[Tensor], locations: list[Tensor], prior: Tensor, classes: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Maps (n, labels, ratios, h * w) and (n, ratios * classes * 4, h, w), as SSD has them: a row of numbers an image.

    The prior boxes come row by row and ratio by ratio at each place; they are put in the maps' order: ratio by ratio.
    """
    n = confidences[0].shape[0]
    scores, offsets, boxes, first = [], [], [], 0
    for confidence, location in zip(confidences, locations, strict=True):
        labels, ratios, places = confidence.shape[1:]
        scores.append(confidence.reshape(n, labels, -1).transpose(1, 2).reshape(n, -1))
        offsets.append(location.reshape(n, ratios, classes, 4, places).permute(0, 1, 4, 2, 3).reshape(n, -1))
        own = prior[0, 0, 4 * first : 4 * (first + ratios * places)]
        boxes.append(own.reshape(places, ratios, 4).transpose(0, 1).reshape(-1))
        first += ratios * places
    return torch.cat(offsets, 1), torch.cat(scores, 1), torch.stack([torch.cat(boxes), prior[0, 1]]).unsqueeze(0)
