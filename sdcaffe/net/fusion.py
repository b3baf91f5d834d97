"""Layers that run as one (a norm and a Scale, with a convolution and a ReLU around them) or in a bottom's memory.

Which layers these are, they say themselves: see the promises of `Layer`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sdcaffe.graph.graph import Graph
from sdcaffe.layers.base import Layer

Layers = Sequence[Layer]  # by place


@dataclass
class Chain:
    """Indices of the steps of one chain. Layers between them in the prototxt keep their place."""

    convolution: int | None
    batch_norm: int
    scale: int
    relu: int | None
    reader: int | None  # the layer that alone reads the top, where it sends back a gradient of its own

    @property
    def last(self) -> int:
        return self.scale if self.relu is None else self.relu


def batch_norm_chains(graph: Graph, layers: Layers) -> list[Chain]:
    """Every norm whose top only a per-channel Scale reads, with the ReLU behind it if only that reads on.

    The linear layer before it is part of the chain if its one top goes to nobody else.

    The numbers and the stored blobs (three and two) are those of the separate layers.
    """
    readers = _readers(graph)

    def only_reader(index: int, is_wanted: Callable[[Layer], bool]) -> int | None:
        return _only_reader(graph, layers, readers, index, is_wanted)

    linear = {
        norm: i
        for i in range(len(graph.steps))
        if layers[i].linear and (norm := only_reader(i, lambda layer: layer.normalizes)) is not None
    }
    chains = []
    for i, step in enumerate(graph.steps):
        if not layers[i].normalizes or step.layer.loss_weight:
            continue
        scale = only_reader(i, _scales)
        if scale is None:
            continue
        relu = only_reader(scale, lambda layer: layer.rectifies)
        last = scale if relu is None else relu
        reader = only_reader(last, lambda layer: layer.fresh_gradient)
        chains.append(Chain(linear.get(i), i, scale, relu, reader))
    return chains


def _scales(layer: Layer) -> bool:
    """Whether it is a factor for each channel, and perhaps a bias."""
    affine = layer.affine(list(layer.blobs))
    return affine is not None and affine.mean is None


def rectified(graph: Graph, layers: Layers) -> list[tuple[int, int]]:
    """Every layer that lends its one top, where only a ReLU reads that, and this ReLU, which may write over it."""
    readers = _readers(graph)
    pairs = []
    for i, step in enumerate(graph.steps):
        if layers[i].lends_top and not step.layer.loss_weight:
            relu = _only_reader(graph, layers, readers, i, lambda layer: layer.rectifies)
            if relu is not None:
                pairs.append((i, relu))
    return pairs


def summed_in_place(graph: Graph, layers: Layers) -> dict[int, int]:
    """Every plain sum -> that of its first two bottoms whose memory it may take: one lent to it alone."""
    readers = _readers(graph)
    makers = {slot: i for i, step in enumerate(graph.steps) for slot in step.tops}
    found = {}
    for i, step in enumerate(graph.steps):
        if not layers[i].sums:
            continue
        for k, slot in enumerate(step.bottoms[:2]):
            maker = makers[slot]
            lent = layers[maker].lends_top and not graph.steps[maker].layer.loss_weight
            if lent and readers[slot] == [i] and False not in step.layer.propagate_down:
                found[i] = k
                break
    return found


def _readers(graph: Graph) -> dict[int, list[int]]:
    """The steps that read each slot."""
    readers: dict[int, list[int]] = {}
    for i, step in enumerate(graph.steps):
        for slot in step.bottoms:
            readers.setdefault(slot, []).append(i)
    return readers


def _only_reader(
    graph: Graph, layers: Layers, readers: dict[int, list[int]], index: int, is_wanted: Callable[[Layer], bool]
) -> int | None:
    """The one step that reads the one top of step `index`, where its layer is wanted and passes gradients on."""
    tops = graph.steps[index].tops
    if len(tops) != 1 or tops[0] in graph.outputs.values():
        return None
    found = readers.get(tops[0], [])
    if len(found) != 1:
        return None
    layer = graph.steps[found[0]].layer
    passes_on = not layer.loss_weight and False not in layer.propagate_down
    return found[0] if passes_on and is_wanted(layers[found[0]]) else None
