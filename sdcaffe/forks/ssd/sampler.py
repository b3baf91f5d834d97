"""Windows of a picture drawn for training: batch_sampler's, which satisfy its constraints on the labelled boxes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from sdcaffe import proto
from sdcaffe.forks.ssd.dice import Dice
from sdcaffe.forks.ssd.geometry import Boxes, area, common

_MOST_TRIALS = 100_000  # a picture: more than the published nets' 50 and 100 by far, and seconds, not hours or memory
_CONSTRAINTS = ("jaccard_overlap", "sample_coverage", "object_coverage")


def check(samplers: Iterable[proto.BatchSampler]) -> None:
    """Raises ValueError for ranges that SSD's Caffe stops at, and for tries that it would go on with for hours."""
    for batch_sampler in samplers:
        sampler = batch_sampler.sampler
        if batch_sampler.max_trials > _MOST_TRIALS:
            raise ValueError(
                f"max_trials of a sampler is {batch_sampler.max_trials}; at most {_MOST_TRIALS} are for a "
                "picture, which take seconds"
            )
        if not 0 < sampler.min_scale <= sampler.max_scale <= 1:
            raise ValueError(
                f"min_scale {sampler.min_scale:g} and max_scale {sampler.max_scale:g} of a sampler must be above 0, "
                "at most 1, the first no larger"
            )
        if not 0 < sampler.min_aspect_ratio <= sampler.max_aspect_ratio < math.inf:
            raise ValueError(
                f"min_aspect_ratio {sampler.min_aspect_ratio:g} and max_aspect_ratio {sampler.max_aspect_ratio:g} of "
                "a sampler must be above 0, the first no larger"
            )


def windows(samplers: Iterable[proto.BatchSampler], boxes: Boxes, dice: Dice) -> list[Boxes]:
    """The windows (4,) of all samplers: each tries max_trials times, up to max_sample that satisfy it.

    As in weiliu89/caffe@4817bf8: a sampler with use_original_image: false gives none.
    """
    found: list[Boxes] = []
    for sampler in samplers:
        if not sampler.use_original_image:
            continue
        own = 0
        for _ in range(sampler.max_trials):
            if sampler.HasField("max_sample") and own >= sampler.max_sample:
                break
            window = _drawn(sampler.sampler, dice)
            if satisfies(window, boxes, sampler.sample_constraint):
                own += 1
                found.append(window)
    return found


def jittered(jitter: float, keeps_aspect: bool, dice: Dice) -> Boxes:
    """A window (4,) of MobileNet-YOLO's (eric612/MobileNet-YOLO@69b4441), somewhere within the picture.

    Of five, one is the whole picture, one has sides of at least 1 - jitter / 2, three of at least 1 - jitter.
    """
    kind = dice.uniform(0, 1)
    if kind < 0.2:
        return np.array([0, 0, 1, 1], np.float32)
    least = 1 - (jitter / 2 if kind < 0.4 else jitter)
    width = dice.uniform(least, 1)
    height = width if keeps_aspect else dice.uniform(least, 1)
    left, top = dice.uniform(0, 1 - width), dice.uniform(0, 1 - height)
    return np.array([left, top, left + width, top + height], np.float32)


def _drawn(sampler: Any, dice: Dice) -> Boxes:
    scale = dice.uniform(sampler.min_scale, sampler.max_scale)
    aspect = dice.uniform(sampler.min_aspect_ratio, sampler.max_aspect_ratio)
    aspect = min(max(aspect, scale**2), 1 / scale**2)
    width, height = scale * math.sqrt(aspect), scale / math.sqrt(aspect)
    left, top = dice.uniform(0, max(1 - width, 0)), dice.uniform(0, max(1 - height, 0))
    return np.array([left, top, left + width, top + height], np.float32)


def satisfies(window: Boxes, boxes: Boxes, constraint: proto.SampleConstraint) -> bool:
    """Whether any box (m, 4) meets the constraint with the window.

    Of several kinds of constraint the first that is given decides, overlap before coverage of the sample
    before coverage of the object: the fork does not take back what the first has found.
    """
    for kind in _CONSTRAINTS:
        low, high = f"min_{kind}", f"max_{kind}"
        if not (constraint.HasField(low) or constraint.HasField(high)):
            continue
        values = _measured(kind, window, boxes)
        meets = np.ones(len(values), bool)
        if constraint.HasField(low):
            meets &= values >= np.float32(getattr(constraint, low))
        if constraint.HasField(high):
            meets &= values <= np.float32(getattr(constraint, high))
        return bool(meets.any())
    return True


def _measured(kind: str, window: Boxes, boxes: Boxes) -> Boxes:
    shared, sizes, own = common(boxes, window), area(boxes), area(window)
    whole = {"jaccard_overlap": own + sizes - shared, "sample_coverage": own, "object_coverage": sizes}[kind]
    return np.divide(shared, whole, out=np.zeros_like(shared), where=shared > 0)
