"""A plan in the making: which steps run as one. The rules in fusions/ find them, plan.py makes the ops."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor

from sdcaffe.layers.base import Layer, Tops
from sdcaffe.net.assembly import Assembled

Run = Callable[..., Tops]  # bottoms -> tops


@dataclass
class Joined:
    """The layers at some places, first to last, that run as one where the first stands."""

    places: list[int]
    run: Run
    extra: tuple[int, ...] = ()  # slots that it reads behind the first layer's bottoms
    overwritten: int | None = None  # a bottom whose memory the tops take, or a top whose gradient's is taken


@dataclass
class Ahead:
    """What runs before all layers: numbers that several of those joined need, from parameters alone."""

    layers: list[Layer]
    run: Callable[[], tuple[Tensor, ...]]
    tops: list[int]


class Draft:
    """Of an assembled net. Blobs in the slots `apart` are asked for: they are made, and not written over."""

    def __init__(self, made: Assembled, apart: frozenset[int]) -> None:
        self.made = made
        self.layers, self.steps = made.layers, made.graph.steps
        self.apart = apart
        self.joined: dict[int, Joined] = {}  # by the first place
        self.ahead: list[Ahead] = []
        self.inside: set[int] = set()  # places that run as part of an earlier one
        self.readers: dict[int, list[int]] = {}  # slot -> places
        for place, step in enumerate(self.steps):
            for slot in step.bottoms:
                self.readers.setdefault(slot, []).append(place)
        self._outputs = set(made.graph.outputs.values())

    def only_reader(self, place: int, is_wanted: Callable[[Layer], bool]) -> int | None:
        """The one place that reads the one top of `place`, where its layer is wanted and passes gradients on."""
        tops = self.steps[place].tops
        if len(tops) != 1 or tops[0] in self._outputs or self.weighted(place):
            return None
        found = self.readers.get(tops[0], [])
        if len(found) != 1 or self.weighted(found[0]) or False in self.steps[found[0]].layer.propagate_down:
            return None
        return found[0] if is_wanted(self.layers[found[0]]) else None

    def weighted(self, place: int) -> bool:
        """Whether the prototxt gives the layer a loss weight, be it 0."""
        return bool(self.steps[place].layer.loss_weight)

    def can_join(self, places: Iterable[int]) -> bool:
        """Whether nobody asks for a blob between layers, and each computes with parameters of its own shape."""
        *before, last = places
        hidden = {slot for place in before for slot in self.steps[place].tops}
        return not hidden & self.apart and not {*before, last} & self.made.views.keys()

    def join(self, joined: Joined) -> None:
        """Run these as one. What one of them was joined with before is done with by `joined.run`."""
        first, *others = joined.places
        self.joined[first] = joined
        self.inside.update(others)
