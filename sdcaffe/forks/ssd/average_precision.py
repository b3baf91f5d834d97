"""Mean average precision of DetectionEvaluate's rows: what a solver of SSD's Caffe logs of a test phase."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[Any]  # float32
VERSIONS = ("11point", "MaxIntegral", "Integral")
_LEAST_STEP = 1e-6  # of recall that counts


def average_precision(scores: Numbers, true: npt.NDArray[np.bool_], positives: int, version: str) -> np.float32:
    """The average precision of detections (m,) of one class that has `positives` boxes (weiliu89/caffe@4817bf8).

    `11point`: the mean of the best precisions at recalls of 0, 0.1, ... 1 or more (PASCAL VOC 2007).
    `MaxIntegral`: the integral over recall of the best precision from each detection on (VOC 2012, ILSVRC).
    `Integral`: the integral of the precision as it is. In float32, summed in the order of the fork.
    """
    if not len(scores) or not positives:
        return np.float32(0)
    true = true[np.argsort(-scores, kind="stable")]
    right = np.cumsum(true).astype(np.float32)
    precision = right / np.arange(1, len(true) + 1, dtype=np.float32)
    recall = right / np.float32(positives)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    if version == "11point":
        starts = np.searchsorted(recall.astype(np.float64), np.arange(10, -1, -1) / 10.0)
        heights = np.append(best, np.float32(0))[starts]
        return _sum(heights / np.float32(11))
    if version == "MaxIntegral":
        steps = np.diff(recall)
        areas = np.where(steps > _LEAST_STEP, best[:-1] * steps, np.float32(0))
        return _sum(np.append(areas[::-1], recall[0] * best[0]))
    steps = np.diff(recall, prepend=np.float32(0))
    return _sum(np.where(steps > _LEAST_STEP, precision * steps, np.float32(0)))


def _sum(values: Numbers) -> np.float32:
    """One after another, in float32."""
    return np.float32(np.cumsum(values.astype(np.float32), dtype=np.float32)[-1])


@dataclass
class Judged:
    """The rows of one DetectionEvaluate top over a test phase."""

    positives: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    rows: list[Numbers] = field(default_factory=list)

    def add(self, top: Numbers) -> None:
        """Take the rows of a batch, (..., 5)."""
        rows = top.reshape(-1, 5)
        counts = rows[:, 0].astype(int) == -1
        for _, label, number in rows[counts, :3].astype(int).tolist():
            self.positives[label] += number
        rows = rows[~counts]
        self.rows.append(rows[rows[:, 3:].any(1)])  # neither true nor false: a detection of a difficult box

    def by_class(self, version: str) -> dict[int, np.float32 | None]:
        """The average precision of each class, by label; None where it was never detected."""
        rows = np.concatenate([np.zeros((0, 5), np.float32), *self.rows])
        found: dict[int, np.float32 | None] = {}
        for label, positives in sorted(self.positives.items()):
            own = rows[rows[:, 1].astype(int) == label]
            found[label] = average_precision(own[:, 2], own[:, 3] == 1, positives, version) if len(own) else None
        return found


def mean(precisions: dict[int, np.float32 | None]) -> np.float32:
    """The mean over the classes, those never detected counting as 0."""
    values = np.array([value for value in precisions.values() if value is not None], np.float32)
    return _sum(values) / np.float32(len(precisions)) if len(values) else np.float32(0)
