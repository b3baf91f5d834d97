"""A linear layer, a norm and a Scale of the test phase as one linear layer, by the statistics that are stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sdcaffe import proto
from sdcaffe.layers.base import Affine, Layer
from sdcaffe.net.draft import Ahead, Draft, Joined, Run
from sdcaffe.net.fusions.affine_norm import norm_chain


def fold_norms(draft: Draft) -> None:
    """Every linear layer of the test phase whose top goes to a norm with stored statistics alone, and that to a Scale.

    A ReLU behind them writes over the top.
    """
    foldings: dict[Any, Folding] = {}
    for place, layer in enumerate(draft.layers):
        norm = draft.only_reader(place, lambda reader: reader.normalizes) if layer.linear else None
        places = [] if norm is None else [place, *norm_chain(draft, norm)]
        if len(places) < 3 or layer.phase != proto.TEST or not draft.can_join(places):
            continue
        linear, normalizing, scale = (draft.layers[i] for i in places[:3])
        if normalizing.affine(list(normalizing.blobs)) is None:
            continue
        slots = -2 * len(draft.joined) - 1, -2 * len(draft.joined) - 2  # slots that no blob has
        folding = foldings.setdefault(Folding.kind(linear, normalizing, scale), Folding())
        folding.add(linear, normalizing, scale, slots)
        draft.join(Joined(places, _folded(linear, relu=len(places) > 3), extra=slots))
    draft.ahead += [Ahead(folding.layers, folding, folding.tops) for folding in foldings.values()]


class Folding:
    """What the weights of several linear layers are to be multiplied by, and their biases then: both (c,).

    Worked out in each pass, as parameters may be written to in ways that nothing notices; and for all chains at
    once, as an operation on few numbers takes as long as one on many. These have the same `kind`.
    """

    def __init__(self) -> None:
        self._chains: list[tuple[Layer, Layer, Layer]] = []
        self._slots: list[tuple[int, int]] = []

    @staticmethod
    def kind(linear: Layer, norm: Layer, scale: Layer) -> tuple[object, ...]:
        return len(linear.blobs), *(part for layer in (norm, scale) for part in _settings(layer))

    def add(self, linear: Layer, norm: Layer, scale: Layer, slots: tuple[int, int]) -> None:
        """One more chain; `slots` are to hold its factor and its bias."""
        self._chains.append((linear, norm, scale))
        self._slots.append(slots)

    @property
    def layers(self) -> list[Layer]:
        return [layer for chain in self._chains for layer in chain]

    @property
    def tops(self) -> list[int]:
        """The slots of what a call gives."""
        factors, biases = zip(*self._slots, strict=True)
        return [*factors, *biases]

    def __call__(self) -> tuple[Tensor, ...]:
        """The factors of all linear layers, then the biases of all."""
        linear, norms, scales = zip(*self._chains, strict=True)
        channels = [len(layer.blobs[0]) for layer in scales]
        norm, scale = (_affine_of_all(layers, channels) for layers in (norms, scales))
        both = norm.then(scale)
        bias = both.moved(torch.cat([layer.blobs[1] for layer in linear]) if len(linear[0].blobs) > 1 else None)
        bias = torch.zeros_like(both.factor) if bias is None else bias
        return (*both.factor.split(channels), *bias.split(channels))


def _settings(layer: Layer) -> tuple[object, ...]:
    return type(layer), len(layer.blobs), None if layer.field is None else layer.param.SerializeToString()


def _affine_of_all(layers: Sequence[Layer], channels: list[int]) -> Affine:
    """What layers of the same settings do to their channels, as one layer of all of these."""
    blobs = [
        torch.cat([blob if blob.shape[0] == c else blob.expand(c) for blob, c in zip(same, channels, strict=True)])
        for same in zip(*(layer.blobs for layer in layers), strict=True)
    ]
    found = layers[0].affine(blobs)
    assert found is not None  # fold_norms has asked
    return found


def _folded(linear: Layer, relu: bool) -> Run:
    """The three as one linear layer: of a bottom, what to multiply the weight by, and the bias."""

    def run(x: Tensor, factor: Tensor, bias: Tensor) -> Tensor:
        out = linear.compute(x, linear.times(linear.blobs[0], factor), bias)
        return F.relu_(out) if relu else out

    return run
