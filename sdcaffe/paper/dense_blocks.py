"""Weights of DenseNets between DenseBlock layers and the same layers written out. Reads and writes no prototxt."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping

import sdcaffe
from sdcaffe import proto
from sdcaffe.errors import WeightsError
from sdcaffe.log import Tick, no_tick
from sdcaffe.paper.layers.dense_block import BLOBS
from sdcaffe.proto.blobs import Array
from sdcaffe.proto.files import StrPath
from sdcaffe.proto.keys import layer_keys
from sdcaffe.proto.weights import LayerBlobs, read_weights

Blobs = Mapping[str, list[Array | None]]

# The written-out layers of inner layer i of a block named b, and the range of its blobs each of them has.
_PARTS = (("{b}_{i}_bn", 0, 3), ("{b}_{i}_scale", 3, 5), ("{b}_{i}", 5, 6))


def written_out(layers: list[LayerBlobs], known: Collection[str] = ()) -> dict[str, list[Array | None]]:
    """Blobs by the layers' keys, where those of each DenseBlock stand under the names of the layers it stands for.

    HDF5 says no types: a layer without one that is not in `known` is a DenseBlock if it has as many blobs as one.
    """
    blobs: dict[str, list[Array | None]] = {}
    for key, layer in zip(layer_keys(layer.name for layer in layers), layers, strict=True):
        guessed = not layer.type and key not in known and len(layer.blobs) % BLOBS == 0
        if layer.type != "DenseBlock" and not guessed:
            blobs[key] = list(layer.blobs)
            continue
        for i in range(len(layer.blobs) // BLOBS):
            for name, first, end in _PARTS:
                inner = layer.blobs[BLOBS * i + first : BLOBS * i + end]
                blobs[name.format(b=key, i=i + 1)] = list(inner)
    return blobs


def gathered(blobs: Blobs, block: str, layers: int) -> list[Array | None] | None:
    """The blobs of a DenseBlock of so many inner layers from those of its layers; None where one is missing."""
    names = [name.format(b=block, i=i + 1) for i in range(layers) for name, _, _ in _PARTS]
    if any(name not in blobs for name in names):
        return None
    return [array for name in names for array in blobs[name]]


def convert(
    source: StrPath, net: StrPath, target: StrPath, *, ignore_unknown: bool = False, tick: Tick = no_tick
) -> int:
    """Write to `target` the weights of the file `source` as the prototxt `net` holds them; how many layers it filled.

    Raises WeightsError where a layer of `net` with weights finds none that fit.
    """
    layers = read_weights(source)
    tick(1, 2)
    param, positions = proto.read_net_located(net, ignore_unknown=ignore_unknown)
    made = sdcaffe.Net(param, sdcaffe.TEST, positions=positions)
    blobs = written_out(layers, made.params)
    result: dict[str, list[Array]] = {}
    for name, own in made.params.items():
        layer = made.layers[name]
        found = gathered(blobs, name, len(own) // BLOBS) if layer.type == "DenseBlock" else blobs.get(name)
        arrays = [array for array in found or () if array is not None]
        if [array.shape for array in arrays] != [tuple(blob.shape) for blob in own]:
            raise WeightsError(f'layer "{name}" of {net} finds no weights of its shapes', os.fspath(source))
        result[name] = arrays
    sdcaffe.write_weights(target, made.param, result)
    tick(2, 2)
    return len(result)
