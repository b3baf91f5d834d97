"""Trained weights from one file format to another: .caffemodel, its HDF5 form, .pt, .safetensors. Runs no net."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sdcaffe import proto
from sdcaffe.errors import WeightsError
from sdcaffe.layers.base import show_shape
from sdcaffe.log import Tick, no_tick
from sdcaffe.net import Net
from sdcaffe.proto.blobs import Array
from sdcaffe.proto.files import StrPath
from sdcaffe.proto.keys import layer_keys
from sdcaffe.proto.weights import LayerBlobs

_KNOWN = (".caffemodel", ".h5", ".pt", ".pth", ".safetensors")


@dataclass
class Converted:
    """How many layers with blobs were written, and the names of those that the net has no place for."""

    layers: int
    left_out: list[str] = field(default_factory=list)


def convert(
    source: StrPath,
    target: StrPath,
    *,
    net: Net | None = None,
    by_order: bool = False,
    like: StrPath | None = None,
    reverse_channels: bool = False,
    tick: Tick = no_tick,
) -> Converted:
    """Write the weights of `source` to `target`, whole or not at all, bit for bit.

    Names say the formats: .pt, .pth, .safetensors (keys as in `state_dict`), .h5, .caffemodel; a source of any other
    name is a .caffemodel.
    `net`, a Net, gives layers their types, their order and, where blobs are shared, their owners; each of its layers
    must be there. `by_order` reads a state_dict of another program into it, `like` names one whose keys the target
    gets (see `by_order`). `reverse_channels` turns the input channels of the first convolution round: RGB to BGR.
    Raises WeightsError for what does not fit, for a source that is no weight file and a target that cannot be written.
    """
    from sdcaffe.converters import by_order as matching
    from sdcaffe.converters.state_dict import from_state_dict, to_state_dict
    from sdcaffe.converters.torch_files import ENDINGS, read_tensors, write_tensors

    if not str(target).endswith(_KNOWN):
        raise WeightsError(f"its name ends in none of {', '.join(_KNOWN)}, which say the format to write", str(target))
    if by_order and (net is None or Path(source).suffix not in ENDINGS):
        raise WeightsError(
            "--by-order reads a state_dict into the layers of a net: give a .pt or .safetensors, and --net"
        )
    if like is not None and Path(target).suffix not in ENDINGS:
        raise WeightsError("is no state_dict: only one of those can be --like another", str(target))
    result = Converted(0)
    try:
        if by_order and net is not None:
            layers = matching.from_tensors(read_tensors(source), _layers_of(net))
        else:
            found = Path(source).suffix in ENDINGS
            layers = from_state_dict(read_tensors(source)) if found else proto.read_weights(source)
            if net is not None:
                layers, result.left_out = fit(layers, net)
        tick(1, 2)
        if reverse_channels:
            _reverse_channels(layers)
        if Path(target).suffix in ENDINGS:
            state = to_state_dict(layers) if like is None else matching.to_tensors(layers, read_tensors(like))
            write_tensors(target, state)
        else:
            _write_caffemodel(target, layers, net)
    except WeightsError as error:
        error.where = error.where or str(source)
        raise
    tick(2, 2)
    result.layers = sum(1 for layer in layers if layer.blobs)
    return result


def fit(layers: Sequence[LayerBlobs], net: Net) -> tuple[list[LayerBlobs], list[str]]:
    """`layers` as those of `net` that have blobs, in its order and of its types; and the names of the others.

    Raises WeightsError for a layer or a blob that is missing, and for one of another shape.
    """
    given = dict(zip(layer_keys(layer.name for layer in layers), (list(layer.blobs) for layer in layers), strict=True))
    owners: dict[str, Array] = {}
    result = []
    for name, wanted in net.params.items():
        layer = net.layers[name]
        stored = layer.arranged(dict(enumerate(given.get(name, []))))
        blobs = [stored[i] for i in range(len(stored))]
        specs = [spec.name for spec in layer.layer_param.param]
        specs += [""] * (len(wanted) - len(specs))
        if len(blobs) > len(wanted) or not all(spec in owners for spec in specs[len(blobs) :]):
            has = f"{len(blobs)} blobs" if blobs else "no blobs"
            raise WeightsError(f'has {has} of layer "{name}", of which the net has {len(wanted)}', layer=name)
        arrays: list[Array | None] = []
        for i, (blob, spec) in enumerate(zip(wanted, specs, strict=True)):
            array = blobs[i] if i < len(blobs) else None
            array = owners.get(spec) if array is None else array
            array = _shaped(array, tuple(blob.shape), f'blob {i} of layer "{name}"')
            arrays.append(array)
            if spec:
                owners.setdefault(spec, array)
        result.append(LayerBlobs(name, layer.type, arrays))
    return result, [name for name, blobs in given.items() if blobs and name not in net.params]


def _shaped(array: Array | None, want: tuple[int, ...], what: str) -> Array:
    if array is None:
        raise WeightsError(f"leaves {what} to a layer that is not there")
    if array.shape not in (want, (1,) * (4 - len(want)) + want):
        raise WeightsError(f"has {what} as {show_shape(array.shape)}, but the net has {show_shape(want)}")
    return array.reshape(want)


def _layers_of(net: Net) -> list[LayerBlobs]:
    return [LayerBlobs(name, net.layers[name].type, list(blobs)) for name, blobs in net.blob_arrays().items()]


def _write_caffemodel(target: StrPath, layers: Sequence[LayerBlobs], net: Net | None) -> None:
    """As a .caffemodel, or HDF5 where the name ends in .h5; with `net`, as that writes its own."""
    blobs: dict[str, list[Array]] = {}
    for key, layer in zip(layer_keys(layer.name for layer in layers), layers, strict=True):
        blobs[key] = [array for array in layer.blobs if array is not None]
        if len(blobs[key]) < len(layer.blobs):
            raise WeightsError(
                f'a blob of layer "{layer.name}" is shared and stands at its owner: give the net with --net',
                layer=layer.name,
            )
    param = proto.NetParameter() if net is None else net.param
    if net is None:
        for layer in layers:
            param.layer.add(name=layer.name, type=layer.type)
    proto.write_weights(target, param, blobs)


def _reverse_channels(layers: Sequence[LayerBlobs]) -> None:
    first = next((layer for layer in layers if layer.blobs), None)
    weight = first.blobs[0] if first is not None else None
    if first is None or weight is None or weight.ndim != 4 or weight.shape[1] != 3:
        raise WeightsError("does not begin with a convolution of 3 channels, whose order could be reversed")
    first.blobs[0] = np.ascontiguousarray(weight[:, ::-1])
