"""The distances that HomoMeanLoss measures by, their slopes, and how much of a gradient it lets through."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

KINDS = ["".join(parts) for parts in itertools.product(("raw", "log", "exp"), ("subsqr", "subabs"))]
CLIP_MODES = ("sample-diff-based", "sample-norm-based", "blobal-diff-based", "blobal-norm-based", "unclipped")


def measures(*ends: str) -> list[str]:
    """The names of all measures that end so."""
    return [f"{kind}-{end}" for kind, end in itertools.product(KINDS, ends)]


def distance(measure: str, x: Tensor) -> Tensor:
    """Of differences x: with s = x^2 (subsqr) or |x| (subabs), s (raw), log(s + 1) (log) or 1 - e^-s (exp)."""
    size = x.square() if "subsqr" in measure else x.abs()
    if measure.startswith("log"):
        return size.log1p()
    return -(-size).expm1() if measure.startswith("exp") else size


def slope(measure: str, x: Tensor) -> Tensor:
    """The derivative of `distance`; 0 at a kink."""
    size, along = (x.square(), 2 * x) if "subsqr" in measure else (x.abs(), x.sign())
    if measure.startswith("log"):
        return along / (size + 1)
    return along * (-size).exp() if measure.startswith("exp") else along


def clipped(found: Tensor, limit: Tensor | float, mode: str, always: bool) -> Tensor:
    """`found` (n, d) with its length brought to the root of `limit`: where it is longer, or `always`.

    Of each row alone, by mode "sample-...", or of all rows together. `limit` is a square: (n, 1) or one number.
    """
    size = found.square().sum(1, keepdim=True) if mode.startswith("sample") else found.square().sum()
    limit = limit if isinstance(limit, Tensor) else found.new_full((), limit)
    scale = torch.where(size > 0, (limit / size).sqrt(), 0)
    return found * (scale if always else torch.where(limit < size, scale, 1))
