"""Where backward goes in a net, by Caffe's rules. Computes no gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sdcaffe.graph import Step
from sdcaffe.layers.base import Layer


@dataclass
class Reach:
    """What backward does at one layer: run at all, give a diff to each bottom, to each parameter blob."""

    layer: bool
    bottoms: list[bool]
    blobs: list[bool]


def backward_reach(
    steps: Sequence[Step],
    layers: Sequence[Layer],
    bottoms: Sequence[Sequence[int]],
    tops: Sequence[Sequence[int]],
    losses: Sequence[Sequence[float]],
    force: bool,
) -> list[Reach]:
    """The reach of each step; `bottoms` and `tops` are its blobs by number, `losses` the weights of its tops.

    Backward runs at layers that stand above something learnable and below a loss. `propagate_down` decides
    for a bottom; where it leaves no bottom anything to do, the layers below that stand only under it rest
    too. `force` (force_backward) overrules all this but for bottoms that hold labels or indices.
    """
    reaches: list[Reach] = []
    needed: set[int] = set()
    for step, layer, below, above in zip(steps, layers, bottoms, tops, strict=True):
        specs = step.layer.param
        blobs = [specs[i].lr_mult != 0 if i < len(specs) else True for i in range(len(layer.blobs))]
        given = list(step.layer.propagate_down) or [blob in needed for blob in below]
        reaches.append(Reach(any(blobs) or not needed.isdisjoint(below), given, blobs))
        if reaches[-1].layer:
            needed.update(above)
    _cut(reaches, bottoms, tops, losses)
    for layer, reach in zip(layers, reaches, strict=True):
        reach.layer = reach.layer or force
        reach.bottoms = [(want or force) and j not in layer.index_bottoms for j, want in enumerate(reach.bottoms)]
        reach.blobs = [(want or force) and i not in layer.fixed_blobs for i, want in enumerate(reach.blobs)]
    return reaches


def _cut(
    reaches: list[Reach],
    bottoms: Sequence[Sequence[int]],
    tops: Sequence[Sequence[int]],
    losses: Sequence[Sequence[float]],
) -> None:
    """From the end: stop at layers under no loss, and at those whose tops nobody gives a diff."""
    under_loss: set[int] = set()
    skipped: set[int] = set()
    for reach, below, above, weights in reversed(list(zip(reaches, bottoms, tops, losses, strict=True))):
        contributes = any(weights) or not under_loss.isdisjoint(above)
        if reach.layer and skipped.issuperset(above):
            reach.layer = False
            reach.bottoms = [False] * len(below)
        if not contributes:
            reach.layer = False
            reach.bottoms = [False] * len(below)
        else:
            under_loss.update(below)
        skipped.update(blob for blob, want in zip(below, reach.bottoms, strict=True) if not want)
