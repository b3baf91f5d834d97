"""Chains of layers that can run as one: BatchNorm and Scale, with the Convolution before and the ReLU behind them."""

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

    @property
    def last(self) -> int:
        return self.scale if self.relu is None else self.relu


def batch_norm_chains(graph: Graph) -> list[Chain]:
    """Every BatchNorm whose top only a per-channel Scale reads, with the ReLU behind it if only that reads on.

    The Convolution before it is part of the chain if its one top goes to nobody else.

    The numbers and the stored blobs (three and two) are those of the separate layers.
    """
    reader: dict[int, list[int]] = {}
    for i, step in enumerate(graph.steps):
        for slot in step.bottoms:
            reader.setdefault(slot, []).append(i)

    def only_reader(index: int, kind: str) -> int | None:
        tops = graph.steps[index].tops
        if len(tops) != 1 or tops[0] in graph.outputs.values():
            return None
        readers = reader.get(tops[0], [])
        if len(readers) != 1 or graph.steps[readers[0]].layer.type != kind:
            return None
        layer = graph.steps[readers[0]].layer
        return None if layer.loss_weight or False in layer.propagate_down else readers[0]

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
        relu = only_reader(scale, "ReLU")
        if relu is not None and graph.steps[relu].layer.relu_param.negative_slope != 0:
            relu = None
        chains.append(Chain(convolutions.get(i), i, scale, relu))
    return chains
