"""What SSD's layers become in PyTorch source: classes and functions that use torch and nothing else."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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


class Detections(nn.Module):
    """From offsets, confidences and prior boxes to the rows (1, 1, m, 7) of what is detected; see `forward`."""

    def __init__(
        self,
        classes: int,
        overlap: float,
        background: int = 0,
        code: int = 1,
        encoded: bool = False,
        clip: bool = False,
        confidence: float = float("-inf"),
        top_k: int = -1,
        eta: float = 1.0,
        keep: int = -1,
    ) -> None:
        super().__init__()
        self.classes, self.overlap, self.background, self.code = classes, overlap, background, code
        self.encoded, self.clip, self.confidence = encoded, clip, confidence
        self.top_k, self.eta, self.keep = top_k, eta, keep

    def forward(self, location: Tensor, confidence: Tensor, prior: Tensor) -> Tensor:
        """Rows of image, label, confidence, xmin, ymin, xmax, ymax; without any, an image's number and six of -1."""
        n = location.shape[0]
        boxes = self.decoded(location.reshape(n, prior.shape[2] // 4, -1, 4), prior)
        scores = confidence.reshape(n, prior.shape[2] // 4, self.classes)
        limits = (self.overlap, self.confidence, self.top_k, self.eta, self.keep)
        return detected(boxes, scores, self.background, *limits).reshape(1, 1, -1, 7)

    def decoded(self, offsets: Tensor, prior: Tensor) -> Tensor:
        """The boxes of offsets (n, boxes, classes, 4) from PriorBox's (1, 2, boxes * 4)."""
        both = prior.reshape(2, -1, 1, 4)
        priors, variances = both[0], both[1]
        if not self.encoded:
            offsets = offsets * variances
        first, last = priors[..., :2], priors[..., 2:]
        size = last - first
        if self.code == 1:
            boxes = priors + offsets
        elif self.code == 3:
            boxes = priors + offsets * torch.cat([size, size], -1)
        else:
            centre = offsets[..., :2] * size + (first + last) / 2
            half = offsets[..., 2:].exp() * size / 2
            boxes = torch.cat([centre - half, centre + half], -1)
        return boxes.clamp(0, 1) if self.clip else boxes


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
    """The rows (r, 7) of boxes (n, m, classes or 1, 4) and their scores (n, m, classes); see Detections."""
    n = scores.shape[0]
    rows = []
    for image in range(n):
        found = [torch.zeros((0, 6), dtype=boxes.dtype, device=boxes.device)]
        for label in range(scores.shape[2]):
            if label != background:
                own, score = boxes[image, :, label if boxes.shape[2] > 1 else 0], scores[image, :, label]
                kept = not_overlapping(own, score, overlap, least, top_k, eta)
                named = torch.full((kept.shape[0], 1), float(label), dtype=boxes.dtype, device=boxes.device)
                found.append(torch.cat([named, score[kept].unsqueeze(1), own[kept]], 1))
        all_found = torch.cat(found)
        if keep > -1 and all_found.shape[0] > keep:
            all_found = all_found[all_found[:, 1].argsort(descending=True, stable=True)[:keep]]
            all_found = all_found[all_found[:, 0].argsort(stable=True)]
        rows.append(F.pad(all_found, (1, 0), value=float(image)))
    table = torch.cat(rows)
    if table.shape[0] == 0:
        number = torch.arange(n, dtype=boxes.dtype, device=boxes.device).unsqueeze(1)
        table = F.pad(number, (0, 6), value=-1.0)
    return table


def not_overlapping(boxes: Tensor, scores: Tensor, overlap: float, least: float, top_k: int, eta: float) -> Tensor:
    """Indices of the boxes (m, 4) whose score is above `least` and that overlap no better one, best first."""
    order = scores.argsort(descending=True, stable=True)
    order = order[scores[order] > least]
    if top_k > -1:
        order = order[:top_k]
    found = order[:0]
    worst = torch.zeros_like(scores)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    while order.shape[0] > 0:
        best = order[:1]
        found = torch.cat([found, best])
        if eta < 1.0 and overlap > 0.5:
            overlap = overlap * eta
        sides = torch.minimum(boxes[best, 2:], boxes[:, 2:]) - torch.maximum(boxes[best, :2], boxes[:, :2])
        common = sides[:, 0] * sides[:, 1]
        met = common / (area[best] + area - common)
        worst = torch.maximum(worst, torch.where((sides > 0).all(1), met, torch.zeros_like(met)))
        order = order[1:]
        order = order[worst[order] <= overlap]
    return found


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
