"""Layers that run as one (BatchNorm and Scale, with Convolution and ReLU around them) or in a bottom's memory."""

from __future__ import annotations

from dataclasses import dataclass

from sdcaffe.graph.graph import Graph


@dataclass
class Chain:
    """Indices of the steps of one chain. Layers between them in the prototxt keep their place."""

    convolution: int | None
    batch_norm: int
    scale: int
    relu: int | None
    reader: int | None  # the Convolution that alone reads the top

    @property
    def last(self) -> int:
        return self.scale if self.relu is None else self.relu


def batch_norm_chains(graph: Graph) -> list[Chain]:
    """Every BatchNorm whose top only a per-channel Scale reads, with the ReLU behind it if only that reads on.

    The Convolution before it is part of the chain if its one top goes to nobody else.

    The numbers and the stored blobs (three and two) are those of the separate layers.
    """
    readers = _readers(graph)

    def only_reader(index: int, kind: str) -> int | None:
        return _only_reader(graph, readers, index, kind)

    convolutions = {
        batch_norm: i
        for i, step in enumerate(graph.steps)
        if step.layer.type == "Convolution" and (batch_norm := only_reader(i, "BatchNorm")) is not None
    }
    chains = []
    for i, step in enumerate(graph.steps):
        if step.layer.type != "BatchNorm" or step.layer.loss_weight:
            continue
        scale = only_reader(i, "Scale")
        if scale is None:
            continue
        layer = graph.steps[scale].layer
        if len(layer.bottom) != 1 or layer.scale_param.axis != 1 or layer.scale_param.num_axes != 1:
            continue
        relu = _plain_relu(graph, only_reader(scale, "ReLU"))
        last = scale if relu is None else relu
        chains.append(Chain(convolutions.get(i), i, scale, relu, only_reader(last, "Convolution")))
    return chains


def rectified(graph: Graph) -> list[tuple[int, int]]:
    """Every Convolution, InnerProduct and sum whose one top only a ReLU reads, and that ReLU.

    None of them needs its top in backward, so the ReLU may write over it.
    """
    readers = _readers(graph)
    pairs = []
    for i, step in enumerate(graph.steps):
        layer = step.layer
        is_sum = layer.type == "Eltwise" and layer.eltwise_param.operation == layer.eltwise_param.SUM
        if (is_sum or layer.type in ("Convolution", "InnerProduct")) and not layer.loss_weight:
            relu = _plain_relu(graph, _only_reader(graph, readers, i, "ReLU"))
            if relu is not None:
                pairs.append((i, relu))
    return pairs


def summed_in_place(graph: Graph) -> dict[int, int]:
    """Every plain sum -> that of its first two bottoms whose memory it may take.

    That one a Convolution, InnerProduct or Scale made, none of which needs it in backward, and only the sum reads it.
    """
    readers = _readers(graph)
    makers = {slot: step for step in graph.steps for slot in step.tops}
    found = {}
    for i, step in enumerate(graph.steps):
        param = step.layer.eltwise_param
        if step.layer.type != "Eltwise" or param.operation != param.SUM or set(param.coeff) - {1.0}:
            continue
        for k, slot in enumerate(step.bottoms[:2]):
            maker = makers[slot].layer
            plain = maker.type in ("Convolution", "InnerProduct", "Scale") and not maker.loss_weight
            if plain and readers[slot] == [i] and False not in step.layer.propagate_down:
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


def _only_reader(graph: Graph, readers: dict[int, list[int]], index: int, kind: str) -> int | None:
    """The one step that reads the one top of step `index`, where it is of type `kind` and passes gradients on."""
    tops = graph.steps[index].tops
    if len(tops) != 1 or tops[0] in graph.outputs.values():
        return None
    found = readers.get(tops[0], [])
    if len(found) != 1 or graph.steps[found[0]].layer.type != kind:
        return None
    layer = graph.steps[found[0]].layer
    return None if layer.loss_weight or False in layer.propagate_down else found[0]


def _plain_relu(graph: Graph, index: int | None) -> int | None:
    return None if index is None or graph.steps[index].layer.relu_param.negative_slope != 0 else index
