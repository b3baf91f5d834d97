"""ONNX files to Caffe: a prototxt and a .caffemodel, checked against ONNX Runtime before they are written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sdcaffe import proto
from sdcaffe.converters.onnx_check import TOLERANCE, Agreement, check
from sdcaffe.converters.onnx_graph import Array, Graph, read_graph
from sdcaffe.converters.onnx_metadata import ModelError
from sdcaffe.converters.onnx_operators import Layers, convert
from sdcaffe.errors import NetError
from sdcaffe.layers import discover
from sdcaffe.layers.base import Shape, class_of
from sdcaffe.log import Tick, no_tick
from sdcaffe.net import Net
from sdcaffe.proto.printing import net_text
from sdcaffe.terminal import shown

_MOST_BYTES = (1 << 31) - 1  # of a .caffemodel


@dataclass
class Imported:
    """What was written: how many layers, how many numbers in their blobs, the inputs' shapes, and what agreed."""

    layers: int
    numbers: int
    inputs: dict[str, Shape]
    agreement: Agreement


def onnx_to_caffe(
    onnx_path: str,
    prototxt_path: str,
    weights_path: str,
    shapes: Mapping[str, Shape] | None = None,
    *,
    tick: Tick = no_tick,
) -> Imported:
    """Write the net of an ONNX file as a prototxt and a .caffemodel (or .h5), both or neither.

    `shapes` are those of inputs by name, where the model leaves more than the batch free; a free batch is 1. Layers
    are called as the model's nodes or, where it comes from PyTorch, its modules; blobs as its values. The check is at
    the shapes written and, where the batch is free, at twice the batch.
    Raises ModelError for a file that is no valid ONNX, for what Caffe has no layer for, by the node's name, and for a
    net that differs from the model by more than `TOLERANCE` in ONNX Runtime.
    """
    try:
        graph = read_graph(onnx_path, shapes)
        tick(1, 3)
        try:
            param, net, agreement = _agreeing(graph)
        except ModelError:
            if not graph.told:
                raise
            graph = read_graph(onnx_path, shapes, layers=False)  # somebody changed it since it was exported
            param, net, agreement = _agreeing(graph)
    except ModelError as error:
        error.where = error.where or onnx_path
        raise
    tick(2, 3)
    blobs = net.blob_arrays()
    text = net_text(param, [f"From {shown(Path(onnx_path).name)}.", *_note(graph)])
    with proto.atomic_write(prototxt_path) as file:
        file.write(text.encode())
        file.flush()
        proto.write_weights(weights_path, net.param, blobs)
    tick(3, 3)
    numbers = sum(array.size for arrays in blobs.values() for array in arrays)
    return Imported(len(param.layer), numbers, graph.inputs, agreement)


def net_of(onnx_path: str, shapes: Mapping[str, Shape] | None = None) -> Net:
    """The net of an ONNX file, with its weights, not checked against the file. Raises ModelError as `onnx_to_caffe`."""
    try:
        return _net(*layers_of(read_graph(onnx_path, shapes)))
    except ModelError as error:
        error.where = error.where or onnx_path
        raise
    except NetError as error:
        raise ModelError(f"as a Caffe net: {error}", onnx_path) from None


def _agreeing(graph: Graph) -> tuple[proto.NetParameter, Net, Agreement]:
    """The net that gives what the graph does, as it is to be written and as it runs. Raises ModelError."""
    try:
        param, blobs = layers_of(graph)
        net = _net(param, blobs)
        return param, net, _checked(graph, net)
    except NetError as error:
        raise ModelError(f"as a Caffe net: {error}") from None


def layers_of(graph: Graph) -> tuple[proto.NetParameter, dict[str, list[Array]]]:
    """The NetParameter of a graph, and its weights by layer name. Raises ModelError for what Caffe lacks."""
    discover()
    layers = Layers(graph)
    for node in graph.nodes:
        convert(layers, node)
    for name in graph.outputs:
        if not any(name in layer.top for layer in layers.param.layer):
            layers.constant(name)
    _join(layers)
    _in_place(layers)
    _silence(layers)
    return layers.param, layers.blobs


def _net(param: proto.NetParameter, blobs: dict[str, list[Array]]) -> Net:
    if sum(array.nbytes for arrays in blobs.values() for array in arrays) > _MOST_BYTES:
        raise ModelError("has more weights than a .caffemodel can hold, 2 GiB")
    net = Net(param, proto.TEST)
    with torch.no_grad():
        for name, arrays in blobs.items():
            for blob, array in zip(net.params[name], arrays, strict=True):
                if tuple(blob.shape) != array.shape:
                    raise ModelError(f'weights of layer "{name}" have shape {array.shape}, not {tuple(blob.shape)}')
                blob.copy_(torch.tensor(array))
    return net


def _checked(graph: Graph, net: Net) -> Agreement:
    runs: list[Mapping[str, Shape]] = [graph.inputs]
    if graph.free_batch:
        runs.append({name: (2 * shape[0], *shape[1:]) for name, shape in graph.inputs.items()})
    try:
        agreement = check(graph.model.SerializeToString(), net, {name: name for name in graph.outputs}, runs)
    except RuntimeError as error:
        raise ModelError(f"as a Caffe net it does not run: {' '.join(str(error).split())[:300]}") from None
    if not agreement.difference <= TOLERANCE:
        raise ModelError(
            f'output "{agreement.output}" of the Caffe net differs from the model by {agreement.difference:.2g} of its '
            f"largest value; {TOLERANCE:g} is allowed, so nothing was written"
        )
    net.reshape(graph.inputs)
    return agreement


def _note(graph: Graph) -> Iterator[str]:
    made = graph.model.producer_name
    if made and made.isprintable():
        yield f"Made by {made[:60]}, opset {graph.opset}."


# ---- layers as Caffe writes them ----


def _readers(param: proto.NetParameter) -> Counter[str]:
    return Counter(name for layer in param.layer for name in layer.bottom)


def _join(layers: Layers) -> None:
    """A Flatten in front of an InnerProduct goes; a Bias behind a Scale or an InnerProduct becomes its own."""
    readers, makers = _readers(layers.param), {name: layer for layer in layers.param.layer for name in layer.top}
    gone: list[Any] = []
    for layer in layers.param.layer:
        before = makers.get(layer.bottom[0]) if layer.bottom else None
        if before is None or readers[layer.bottom[0]] != 1 or layer.bottom[0] in layers.graph.outputs:
            continue
        if layer.type == "InnerProduct" and before.type == "Flatten" and layer.inner_product_param.axis == 1:
            layer.bottom[0] = before.bottom[0]
            gone.append(before)
        elif layer.type == "Bias" and _takes_bias(before, layer):
            blobs = [*layers.blobs.pop(before.name), *layers.blobs.pop(layer.name)]
            param = before.scale_param if before.type == "Scale" else before.inner_product_param
            param.bias_term = True
            gone.append(layer)
            before.top[0] = layer.top[0]
            before.name = layer.name if before.type == "Scale" else before.name
            makers[layer.top[0]] = before
            layers.blobs[before.name] = blobs
    for layer in gone:
        layers.param.layer.remove(layer)


def _silence(layers: Layers) -> None:
    """What a layer makes beside what is wanted is no output of the net."""
    readers = _readers(layers.param)
    made = [name for layer in layers.param.layer for name in layer.top if layer.type != "Input"]
    unread = [name for name in dict.fromkeys(made) if not readers[name] and name not in layers.graph.outputs]
    if unread:
        layers.param.layer.add(name=layers.names.new("silence"), type="Silence", bottom=unread)


def _takes_bias(before: Any, bias: Any) -> bool:
    param = bias.bias_param
    if before.type == "Scale":
        scale = before.scale_param
        return not scale.bias_term and (scale.axis, scale.num_axes) == (param.axis, param.num_axes)
    if before.type != "InnerProduct" or before.inner_product_param.bias_term:
        return False
    return bool(param.axis == before.inner_product_param.axis and param.num_axes == 1)


def _in_place(layers: Layers) -> None:
    """A layer from NAME_1 to NAME, as `sdcaffe export` calls earlier versions of a blob, works in place again."""
    readers, later = _readers(layers.param), dict[str, str]()
    inputs = {*layers.graph.inputs, *layers.graph.outputs}
    for layer in reversed(layers.param.layer):
        for names in (layer.top, layer.bottom):
            for i, name in enumerate(names):
                names[i] = later.get(name, name)
        if not class_of(layer).in_place or len(layer.bottom) != 1 or len(layer.top) != 1:
            continue
        name, top = layer.bottom[0], layer.top[0]
        stem, _, number = name.rpartition("_")
        version = name.startswith(f"{top}.") or (number.isdigit() and stem == top)
        if version and readers[name] == 1 and name not in inputs:
            later[name] = layer.bottom[0] = top
