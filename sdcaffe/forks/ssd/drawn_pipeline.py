"""MobileNet-YOLO's several resize_param: every ten batches one of them is drawn, and pictures are made of its size."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from sdcaffe import proto
from sdcaffe.forks.ssd.dice import Dice
from sdcaffe.forks.ssd.pipeline import Pipeline

_BATCHES = 10  # of one size, in MobileNet-YOLO


class DrawnPipelines:
    """As a Pipeline, one for each resize_param of a transform_param; `prob` says how likely each is.

    From eric612/MobileNet-YOLO@69b4441. Which batches have which size is a function of the seed alone. Raises
    ValueError for settings that cannot be.
    """

    draws_before_crop = draws_crop = True  # nothing made of one size is kept for the next time

    def __init__(
        self,
        param: proto.TransformationParameter,
        samplers: Iterable[proto.BatchSampler],
        phase: int,
        jitter: float = 0,
    ) -> None:
        odds = [resize.prob for resize in param.resize_param]
        if any(not 0 <= one <= 1 for one in odds) or abs(sum(odds) - 1) > 1e-3:
            given = ", ".join(f"{one:g}" for one in odds)
            raise ValueError(f"the prob of several resize_param must be from 0 to 1 and 1 together, not {given}")
        if param.HasField("mean_file"):
            raise ValueError("a mean_file has one size; with several resize_param give mean_value")
        self.limits = list(itertools.accumulate(odds))
        self.pipelines = []
        for resize in param.resize_param:
            one = type(param)()
            one.CopyFrom(param)
            del one.resize_param[:]
            one.resize_param.add().CopyFrom(resize)
            self.pipelines.append(Pipeline(one, samplers, phase, jitter))

    def of_batch(self, k: int, seed: int) -> Pipeline:
        """What batch `k` goes through."""
        drawn = Dice(seed, k // _BATCHES, -1).uniform(0, self.limits[-1])
        return next(one for one, limit in zip(self.pipelines, self.limits, strict=True) if drawn <= limit)


def pipeline_of(
    param: proto.TransformationParameter, samplers: Iterable[proto.BatchSampler], phase: int, jitter: float = 0
) -> Pipeline | DrawnPipelines:
    """What a transform_param and batch_samplers, or without these a `jitter`, do to pictures.

    Raises ValueError for settings that cannot be.
    """
    return (DrawnPipelines if len(param.resize_param) > 1 else Pipeline)(param, samplers, phase, jitter)
