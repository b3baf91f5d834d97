"""What a net runs and in which order: layers, or several of them as one. Running it is execution.py's."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import nn
from torch.func import functional_call

from sdcaffe.graph import Step
from sdcaffe.layers.base import DataLayer, Layer
from sdcaffe.net.assembly import Assembled
from sdcaffe.net.draft import Draft, Joined, Run
from sdcaffe.net.fusions import RULES


@dataclass
class Op:
    """What one step runs: one layer, several run as one, or what several of these need first."""

    layers: list[Layer]
    run: Run
    bottoms: list[int]
    tops: list[int]
    detach: list[int] = field(default_factory=list)  # the bottoms, by index, that no gradient goes to
    losses: list[int] = field(default_factory=list)  # of the tops, those with a loss weight
    release: list[int] = field(default_factory=list)
    dynamic: int | None = None  # the place whose tops take any shape, where this is one
    exact: bool = False  # computes in float32 whatever the net's precision
    leaves: list[int] = field(default_factory=list)  # tops that a later layer differentiates by
    overwritten: int | None = None  # a bottom whose memory the tops take, or a top whose gradient's is taken
    checked: bool = False  # the tops were what setup said


def make_plan(made: Assembled, apart: frozenset[int] = frozenset()) -> list[Op]:
    """What to run: each computing step, or several as one by the RULES; each blob released after its last reader.

    The blobs in the slots `apart` are asked for: none vanishes inside what runs as one, and none is written over.
    """
    draft = Draft(made, apart)
    for rule in RULES:
        rule(draft)
    differentiated = gradient_slots(made)
    ops = [Op(ahead.layers, ahead.run, [], ahead.tops, checked=True) for ahead in draft.ahead]
    for place, (step, layer) in enumerate(zip(draft.steps, draft.layers, strict=True)):
        if place in draft.inside or isinstance(layer, DataLayer) or layer.given:
            continue
        joined = draft.joined.get(place) or Joined([place], _alone(made, place))
        tops = draft.steps[joined.places[-1]].tops
        ops.append(
            Op(
                layers=[draft.layers[i] for i in joined.places],
                run=joined.run,
                bottoms=[*step.bottoms, *joined.extra],
                tops=tops,
                detach=_detached(layer, step),
                losses=[slot for slot in tops if slot in made.loss_weights],
                release=[*step.release, *joined.extra],
                dynamic=place if layer.dynamic else None,
                exact=layer.loss or bool(layer.index_bottoms),
                leaves=[slot for slot in tops if slot in differentiated],
                overwritten=joined.overwritten,
            )
        )
    return ops


def gradient_slots(made: Assembled) -> set[int]:
    """The slots that layers differentiate by in their forward."""
    pairs = zip(made.layers, made.graph.steps, strict=True)
    return {step.bottoms[i] for layer, step in pairs for i in layer.gradient_bottoms}


def _detached(layer: Layer, step: Step) -> list[int]:
    flags = list(step.layer.propagate_down)
    return [i for i in range(len(step.bottoms)) if i in layer.index_bottoms or (flags and not flags[i])]


def _alone(made: Assembled, place: int) -> Run:
    """The layer, with the blobs that other layers own under another shape (PERMISSIVE sharing)."""
    layer, owners = made.layers[place], made.views.get(place)
    return layer if owners is None else _with_views(layer, owners)


def _with_views(layer: Layer, owners: dict[int, nn.Parameter]) -> Run:
    shapes = {i: tuple(layer.blobs[i].shape) for i in owners}

    def run(*bottoms: Any) -> Any:
        blobs = {f"blobs.{i}": owner.reshape(shapes[i]) for i, owner in owners.items()}
        return functional_call(layer, blobs, bottoms)

    return run
