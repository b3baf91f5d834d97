"""Boxes that overlap better ones, dropped by ONNX's NonMaxSuppression. Decodes no boxes and makes no rows."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sdcaffe.layers.base import OnnxBuilder

ALL = (1 << 31) - 1  # more boxes than any net has


def kept(
    builder: OnnxBuilder,
    boxes: Tensor,
    scores: Tensor,
    overlap: float,
    *,
    least: float | None = None,
    most: int = ALL,
    middles: bool = False,
) -> Tensor:
    """The scores (sets, boxes), and -infinity for boxes (sets, boxes, 4) that overlap a better one of their set.

    Those stay whose score is above `least` and that overlap no kept one by more than `overlap`, a part of both boxes'
    area; of each set the best `most`, of equals the first. Boxes are two corners, or with `middles` the middle and the
    size.
    """
    sets, count = scores.shape
    limits = [torch.tensor([most]), torch.tensor([overlap])] + ([] if least is None else [torch.tensor([least])])
    found = (sets * count, 3)  # at most: how many there are is not known, and nothing looks at it
    given = [boxes, scores.unsqueeze(1), *limits]
    best = builder.operator("NonMaxSuppression", given, found, dtype=torch.int64, center_point_box=int(middles))
    values = builder.operator("GatherND", [scores.unsqueeze(1), best], found[:1])
    start = torch.full_like(scores, -torch.inf).unsqueeze(1)
    return builder.operator("ScatterND", [start, best, values], (sets, 1, count)).squeeze(1)


def below(limit: float) -> float:
    """The float32 before a number: above it is what is at least that number."""
    return float(np.nextafter(np.float32(limit), np.float32(-np.inf)))
