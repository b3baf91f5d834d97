"""A ReLU in the memory of the blob that it alone reads."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from torch import Tensor
from torch.nn import functional as F

from sdcaffe.net.draft import Draft, Joined, Run


def rectify_in_place(draft: Draft) -> None:
    """Every layer that lends its one top, where only a ReLU reads that: it writes over it. The layer may be joined."""
    for maker, layer in enumerate(draft.layers):
        if maker in draft.inside or not layer.lends_top:
            continue
        relu = draft.only_reader(maker, lambda reader: reader.rectifies)
        if relu is not None and draft.can_join([maker, relu]):
            before = draft.joined.get(maker) or Joined([maker], layer)
            draft.join(replace(before, places=[maker, relu], run=_rectifying(before.run)))


def _rectifying(maker: Run) -> Run:
    def run(*bottoms: Tensor) -> Tensor:
        return F.relu_(cast(Tensor, maker(*bottoms)))

    return run
