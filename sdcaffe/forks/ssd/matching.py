"""The boxes of a label blob, and which prediction answers for which of them. Computes no loss."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sdcaffe.forks.ssd.boxes import overlaps

UNMATCHED, IGNORED = -1, -2
LEAST_OVERLAP = 1e-6  # what SSD still takes for an overlap


@dataclass(frozen=True)
class Truth:
    """The labelled boxes of a batch, by item: boxes (m, 4), labels (m,), and how many each of n items has."""

    boxes: Tensor
    labels: Tensor
    counts: list[int]

    @property
    def has_any(self) -> Tensor:
        """Whether an item has a box, (n,)."""
        return torch.tensor([count > 0 for count in self.counts], device=self.boxes.device)

    def by_label(self, classes: int) -> Truth:
        """The boxes of labels below `classes`, those of each item in the order of their labels."""
        item = self._items()
        known = (self.labels < classes).nonzero()[:, 0]
        order = known[(item * classes + self.labels)[known].argsort(stable=True)]
        counts = item[order].bincount(minlength=len(self.counts)).tolist()
        return Truth(self.boxes[order], self.labels[order], counts)

    def by_class(self, classes: int) -> Truth:
        """What `by_label` gives as n * classes items: those of each item parted by their label."""
        group = self._items() * classes + self.labels
        return Truth(self.boxes, self.labels, group.bincount(minlength=len(self.counts) * classes).tolist())

    def _items(self) -> Tensor:
        counts = torch.tensor(self.counts, device=self.labels.device)
        return torch.arange(len(self.counts), device=self.labels.device).repeat_interleave(counts)


def read_truth(label: Tensor, n: int, *, background: int, classes: float, difficult: bool) -> Truth:
    """The boxes of a label blob, rows of 8: item, label, instance, xmin, ymin, xmax, ymax, difficult.

    Rows of item -1 and of items beyond the batch are passed over, and, unless `difficult`, difficult ones.
    Raises ValueError for a label that is the background's, or not below `classes`.
    """
    rows = label.detach().reshape(-1, 8).cpu().numpy().astype(np.float32)
    item, labels = rows[:, 0].astype(np.int64), rows[:, 1].astype(np.int64)
    used = item != -1
    if (used & (labels == background)).any():
        raise ValueError(f"a box has the label {background}, which is background_label_id")
    used &= (item >= 0) & (item < n)
    if not difficult:
        used &= rows[:, 7] == 0
    wrong = labels[used & ((labels < 0) | (labels >= classes))]
    if len(wrong):
        raise ValueError(f"a box has the label {wrong[0]}, but num_classes is {classes}")
    order = np.flatnonzero(used)
    order = order[np.argsort(item[order], kind="stable")]
    return Truth(
        torch.from_numpy(rows[order, 3:7]).to(label.device),
        torch.from_numpy(labels[order]).to(label.device),
        np.bincount(item[order], minlength=n).tolist(),
    )


@dataclass(frozen=True)
class Matches:
    """For each item (or item and class) and prediction, (groups, p): which box of the truth, and their overlap.

    UNMATCHED ones have their largest overlap with any box; IGNORED ones 0.
    """

    box: Tensor
    overlap: Tensor


def match(
    truth_boxes: Tensor, counts: list[int], candidates: Tensor, *, threshold: float | None, inside_only: bool
) -> Matches:
    """Give each box of the truth the free candidate that overlaps it best, the best pair first.

    `counts` says how many boxes each group has, which stand one group after another in `truth_boxes`;
    `candidates` are boxes (p, 4), or (groups, p, 4) where each group has its own. With a `threshold`, every
    other candidate that overlaps a box by so much is given to the one it overlaps most. With
    `inside_only`, candidates that reach out of the image are ignored. Of equals the first counts.
    """
    groups, p = len(counts), candidates.shape[-2]
    device = candidates.device
    outside = ((candidates < 0) | (candidates > 1)).any(-1).expand(groups, p) if inside_only else None
    box = torch.full((groups, p), UNMATCHED, device=device)
    best = torch.zeros((groups, p), device=device)
    first = 0
    for group, count in enumerate(counts):
        if not count:
            continue
        own = candidates if candidates.dim() == 2 else candidates[group]
        found = overlaps(truth_boxes[first : first + count], own)
        found = found.masked_fill_(found <= LEAST_OVERLAP, 0)
        if outside is not None:
            found.masked_fill_(outside[group], 0)
        best[group], nearest = found.max(0)
        if threshold is not None:
            enough = (best[group] >= threshold) & (best[group] > 0)
            box[group] = torch.where(enough, nearest + first, UNMATCHED)
        _one_each(found, first, box[group], best[group])
        first += count
        if outside is not None:
            box[group].masked_fill_(outside[group], IGNORED)
    return Matches(box, best)


def _one_each(found: Tensor, first: int, box: Tensor, best: Tensor) -> None:
    """Match each row of `found` (boxes, p) with one candidate, in the order of their overlaps; writes its results."""
    free = found.t().contiguous()
    for _ in range(free.shape[1]):
        candidate, row = divmod(int(free.argmax()), free.shape[1])
        overlap = free[candidate, row].clone()
        if not overlap > 0:
            return
        box[candidate], best[candidate] = first + row, overlap
        free[candidate] = 0
        free[:, row] = 0


def of_classes(matches: Matches, labels: Tensor, classes: int) -> Matches:
    """The matches of each item spread over `classes`: a class keeps those whose box has its label; (n * classes, p)."""
    n, p = matches.box.shape
    label = labels[matches.box.clamp(min=0)] if len(labels) else matches.box
    own = label[:, None] == torch.arange(classes, device=label.device)[:, None]
    box = torch.where(own & (matches.box >= 0)[:, None], matches.box[:, None], UNMATCHED)
    overlap = matches.overlap[:, None].expand(n, classes, p)
    return Matches(box.reshape(n * classes, p), overlap.reshape(n * classes, p))
