"""Weights of DenseNets between DenseBlock layers and the same layers written out. Reads and writes no prototxt."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import sdcaffe
from sdcaffe.errors import WeightsError
from sdcaffe.plugins.dense_block import BLOBS
from sdcaffe.proto.weights import LayerBlobs, read_weights

Blobs = Mapping[str, list[Any]]

# The written-out layers of inner layer i of a block named b, and the range of its blobs each of them has.
_PARTS = (("{b}_{i}_bn", 0, 3), ("{b}_{i}_scale", 3, 5), ("{b}_{i}", 5, 6))


def written_out(layers: list[LayerBlobs]) -> dict[str, list[Any]]:
    """Blobs by layer name, where those of each DenseBlock stand under the names of the layers it stands for."""
    blobs: dict[str, list[Any]] = {}
    for layer in layers:
        if layer.type != "DenseBlock":
            blobs[layer.name] = list(layer.blobs)
            continue
        for i in range(len(layer.blobs) // BLOBS):
            for name, first, end in _PARTS:
                inner = layer.blobs[BLOBS * i + first : BLOBS * i + end]
                blobs[name.format(b=layer.name, i=i + 1)] = list(inner)
    return blobs


def gathered(blobs: Blobs, block: str, layers: int) -> list[Any] | None:
    """The blobs of a DenseBlock of so many inner layers from those of its layers; None where one is missing."""
    names = [name.format(b=block, i=i + 1) for i in range(layers) for name, _, _ in _PARTS]
    if any(name not in blobs for name in names):
        return None
    return [array for name in names for array in blobs[name]]


def convert(source: str | os.PathLike[str], net: str | os.PathLike[str], target: str | os.PathLike[str]) -> int:
    """Write to `target` the weights of the file `source` as the prototxt `net` holds them; how many layers it filled.

    Raises WeightsError where a layer of `net` with weights finds none that fit.
    """
    blobs = written_out(read_weights(source))
    made = sdcaffe.Net(net, sdcaffe.TEST)
    result: dict[str, list[Any]] = {}
    for name, own in made.params.items():
        layer = made.layers[name]
        found = gathered(blobs, name, len(own) // BLOBS) if layer.type == "DenseBlock" else blobs.get(name)
        if found is None or [array.shape for array in found] != [tuple(blob.shape) for blob in own]:
            raise WeightsError(f'layer "{name}" of {net} finds no weights of its shapes', os.fspath(source))
        result[name] = found
    sdcaffe.write_weights(target, made.param, result)
    return len(result)
