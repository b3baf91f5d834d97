"""Which of a detector's predictions its loss looks at: negatives that cost most, or whatever costs most."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import torch
from torch import Tensor

from sdcaffe.forks.ssd.boxes import areas, suppress
from sdcaffe.forks.ssd.matching import UNMATCHED, Matches

LEAST_AREA = 1e-5  # smaller boxes are not mined, once overlaps are looked at


class MiningType(enum.IntEnum):
    """NONE: all predictions; MAX_NEGATIVE: a few negatives for each positive; HARD_EXAMPLE: the costliest of both."""

    NONE = 0
    MAX_NEGATIVE = 1
    HARD_EXAMPLE = 2


@dataclass(frozen=True)
class Suppression:
    """Leaves out, of `boxes` (p, 4) or (n, p, 4), those that overlap a costlier one by more than `overlap`.

    Only the `top_k` costliest are tried; -1: all.
    """

    boxes: Tensor
    overlap: float
    top_k: int

    def best(self, item: int, costs: Tensor, wanted: int) -> list[int]:
        """The `wanted` costliest of an item's predictions that are left; a cost of -inf is no candidate's."""
        boxes = self.boxes if self.boxes.dim() == 2 else self.boxes[item]
        order = costs.argsort(descending=True, stable=True)[: int((costs > -torch.inf).sum())]
        if self.top_k > -1:
            order = order[: self.top_k]
        order = order[areas(boxes[order]) >= LEAST_AREA]
        tried, scores = boxes[order].cpu().numpy(), costs[order].cpu().numpy()
        kept = suppress(tried, scores, overlap=self.overlap)
        return order[kept[:wanted]].tolist()


def most(costs: Tensor, wanted: Tensor, suppression: Suppression | None) -> Tensor:
    """Mark the `wanted` (n,) costliest of each item's predictions in costs (n, p); -inf is none's."""
    chosen = torch.zeros_like(costs, dtype=torch.bool)
    limit = int(wanted.max()) if len(wanted) else 0
    if not limit:
        return chosen
    if suppression is not None:
        for item, number in enumerate(wanted.tolist()):
            chosen[item, suppression.best(item, costs[item], number)] = True
        return chosen
    _, order = costs.topk(limit, dim=1)
    return chosen.scatter_(1, order, torch.arange(limit, device=costs.device) < wanted[:, None])


def negatives(
    matches: Matches, costs: Tensor, *, ratio: float, below: float, suppression: Suppression | None
) -> Tensor:
    """MAX_NEGATIVE: mark the costliest predictions (n, p) that are unmatched and overlap no box by `below` or more.

    Of each item `ratio` times as many as are matched, cut to a whole number; none where that is below 0.
    """
    candidates = (matches.box == UNMATCHED) & (matches.overlap < below)
    wanted = ((matches.box >= 0).sum(1) * ratio).minimum(candidates.sum(1)).clamp(min=0).long()
    return most(costs.masked_fill(~candidates, -torch.inf), wanted, suppression)


def hard_examples(
    matches: Matches, costs: Tensor, has_any: Tensor, *, size: int, suppression: Suppression | None
) -> tuple[Matches, Tensor]:
    """HARD_EXAMPLE: of each item with boxes the `size` costliest predictions (n, p), matched or not.

    Gives the matches among them, and a mark for the unmatched ones.
    """
    wanted = has_any * min(size, costs.shape[1])
    chosen = most(costs, wanted, suppression)
    negative = chosen & (matches.box == UNMATCHED)
    dropped = (matches.box >= 0) & ~chosen
    return Matches(matches.box.masked_fill(dropped, UNMATCHED), matches.overlap), negative
