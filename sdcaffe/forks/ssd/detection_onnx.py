"""DetectionOutput's rows by operators of ONNX, NonMaxSuppression among them, for any batch. Decodes no boxes."""

from __future__ import annotations

import torch
from torch import Tensor

from sdcaffe.forks import suppression_onnx
from sdcaffe.layers.base import OnnxBuilder


def rows(
    builder: OnnxBuilder,
    boxes: Tensor,
    scores: Tensor,
    labels: list[int],
    *,
    overlap: float,
    least: float | None,
    top_k: int,
    keep: int,
) -> Tensor:
    """The rows (m, 7) that DetectionOutput gives of boxes (n, priors, 1 or classes, 4) and scores (n, priors, classes).

    Of each of `labels` the `top_k` best boxes with scores above `least` are tried; those that overlap a better one by
    more than `overlap` go; the best `keep` of an image stay. -1: all of them.
    """
    n, priors = scores.shape[0], scores.shape[1]
    classes = torch.tensor(labels)
    tried = priors if top_k < 0 else min(top_k, priors)
    item = torch.arange(n).to(boxes.dtype).reshape(n, 1, 1)
    none = torch.cat([item, torch.full_like(item, -1).expand(-1, -1, 6)], 2)
    if not labels or not tried:
        return none.reshape(-1, 7)
    best, where = scores.index_select(2, classes).transpose(1, 2).topk(tried, 2)  # (n, classes, tried), best first
    each = boxes.index_select(2, classes) if boxes.shape[2] > 1 else boxes.expand(-1, -1, len(labels), -1)
    each = each.transpose(1, 2).gather(2, where.unsqueeze(3).expand(-1, -1, -1, 4))  # (n, classes, tried, 4)
    sets = each.flatten(0, 1)
    sides = torch.cat([sets[..., :2], sets.maximum(sets.roll(2, -1))[..., 2:]], -1)  # that end before they begin
    kept = suppression_onnx.kept(builder, sides, best.flatten(0, 1), overlap, least=least, most=tried)
    kept = kept.reshape(n, len(labels) * tried)
    chosen = kept > -torch.inf
    if -1 < keep < len(labels) * tried:
        ranked = kept.topk(keep, 1)[1] if keep else kept[:, :0].long()
        chosen = chosen & torch.zeros_like(chosen).scatter(1, ranked, torch.ones_like(ranked, dtype=torch.bool))
    label = classes.to(boxes.dtype).reshape(-1, 1).expand(-1, tried).reshape(1, -1, 1).expand(n, -1, -1)
    table = [item.expand(-1, len(labels) * tried, -1), label, best.reshape(n, -1, 1), each.reshape(n, -1, 4)]
    unfound = torch.logical_not(chosen.any()).reshape(1, 1).expand(n, 1)
    every = torch.cat([torch.cat(table, 2), none], 1).reshape(-1, 7)
    return every.index_select(0, torch.cat([chosen, unfound], 1).reshape(-1).nonzero().squeeze(1))
