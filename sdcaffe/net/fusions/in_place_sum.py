"""A plain sum in the memory of one of its first two bottoms."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sdcaffe.layers.base import Layer
from sdcaffe.net.draft import Draft, Joined, Run


def sum_in_place(draft: Draft) -> None:
    """Every sum one of whose first two bottoms is lent to it alone by the layer that makes it."""
    makers = {slot: place for place, step in enumerate(draft.steps) for slot in step.tops}
    for place, step in enumerate(draft.steps):
        if not draft.layers[place].sums or False in step.layer.propagate_down:
            continue
        for i, slot in enumerate(step.bottoms[:2]):
            maker = makers[slot]
            lent = draft.layers[maker].lends_top and not draft.weighted(maker) and draft.readers[slot] == [place]
            if lent and slot not in draft.apart:
                draft.join(Joined([place], _adding(draft.layers[place], i), overwritten=slot))
                break


def _adding(layer: Layer, first: int) -> Run:
    """The sum of the bottoms in the memory of the bottom `first`."""

    def run(*bottoms: Tensor) -> Any:
        if any(bottom.dtype != bottoms[first].dtype for bottom in bottoms):  # the sum is of the wider type
            return layer(*bottoms)
        top = bottoms[first]
        for i, bottom in enumerate(bottoms):
            if i != first:
                top = top.add_(bottom)
        return top

    return run
