"""Soft suppression of boxes that overlap better ones, as deepdetect's Caffe does it (jolibrain/caffe@23928c0)."""

from __future__ import annotations

import bisect
import math

from torch import Tensor

from sdcaffe import proto
from sdcaffe.forks.ssd.boxes import overlaps


def suppress_softly(boxes: Tensor, scores: list[float], nms: proto.NonMaximumSuppressionParameter) -> list[int]:
    """Indices of the boxes (m, 4) to keep, of scores in falling order.

    The best that waits is compared with each kept one in turn, until their overlap is above nms_threshold: then it is
    dropped; else it is kept. As in the fork, each comparison takes away the best that waits, whichever that is by
    then, and puts the compared box back with its first score times exp(-overlap^2 / theta): so a box may be kept twice,
    or go without having been compared. eta lowers the threshold as in `suppress`.
    """
    each = overlaps(boxes, boxes).tolist()
    waiting = [(-score, i) for i, score in enumerate(scores)]  # in order of score; of equals, the first to come
    kept: list[int] = []
    threshold = nms.nms_threshold
    while waiting:
        score, box = waiting[0]
        keep = True
        for other in kept:
            overlap = each[box][other]
            lowered = score * math.exp(-overlap * overlap / nms.theta)
            del waiting[0]
            waiting.insert(bisect.bisect_right(waiting, lowered, key=_score), (lowered, box))
            keep = overlap <= threshold
            if not keep:
                break
        if keep:
            kept.append(box)
        del waiting[0]
        if keep and nms.eta < 1 and threshold > 0.5:
            threshold *= nms.eta
    return kept


def _score(entry: tuple[float, int]) -> float:
    return entry[0]
