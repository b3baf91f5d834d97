"""An ONNX file of anybody's as a graph to convert: checked, its shapes known, its constants read. Converts nothing.

A file is believed in nothing: what it claims is bounded before anything is allocated for it.
"""

from __future__ import annotations

import heapq
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sdcaffe import reading
from sdcaffe.converters.onnx_constants import settled, values_of
from sdcaffe.converters.onnx_metadata import Metadata, ModelError, read_metadata, read_model
from sdcaffe.converters.onnx_told import PROPERTY, Told, read_told, usable
from sdcaffe.layers.base import Shape

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto

Array = NDArray[Any]

TOLD = "sdcaffe"  # the domain of a node that is a layer

_MOST_VALUES = 1 << 28  # of one blob: 1 GiB
_MOST_BYTES = (1 << 31) - 1  # of all weights: a protobuf's
# What shapes an output but is no blob: only the first input is.
_FIRST_ONLY = {"Reshape", "Expand", "Squeeze", "Unsqueeze", "Clip", "Pad", "Slice", "Split", "Resize", "Tile"}
_FIRST_ONLY |= {"Dropout", "ReduceMean", "ReduceMax", "ReduceSum", "ReduceL1", "ReduceSumSquare"}


@dataclass
class Node:
    """An operator: its inputs and outputs are names of values, "" where one is left out."""

    op: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]
    domain: str = ""

    def error(self, message: str) -> ModelError:
        return ModelError(f'node "{self.name or ", ".join(self.outputs)}" ({self.op}) {message}')

    def refuse(self, **allowed: object) -> None:
        """Raise ModelError for an attribute that is there and has another value than the one that Caffe knows."""
        for name, value in allowed.items():
            given = self.attributes.get(name, value)
            if given != value:
                raise self.error(f"has {name} {given}; Caffe has only {value}")


@dataclass
class Graph:
    """`nodes` in order, those that outputs hang on; `inputs` and `outputs` by name; `shapes` of all values.

    `model` is the whole ModelProto, weights and all. `free_batch` says whether it leaves the first axis of each
    input free; `doubled` are then the shapes at twice the batch. So many layers are `told`.
    """

    model: ModelProto
    name: str
    opset: int
    nodes: list[Node]
    inputs: dict[str, Shape]
    outputs: list[str]
    shapes: dict[str, Shape]
    types: dict[str, int]
    free_batch: bool
    tensors: dict[str, TensorProto] = field(default_factory=dict)
    doubled: dict[str, Shape] = field(default_factory=dict)
    told: int = 0

    def constant(self, node: Node, index: int) -> Array | None:
        """The constant that an input is; None where it is left out. Raises ModelError where it is computed."""
        name = node.inputs[index] if index < len(node.inputs) else ""
        if not name:
            return None
        if name not in self.tensors:
            raise node.error(f'takes "{name}" from other nodes; Caffe needs numbers there')
        return array_of(self.tensors[name], name)

    def shape(self, node: Node, name: str) -> Shape:
        """Raises ModelError for a value whose shape depends on other values."""
        if name not in self.shapes:
            raise node.error(f'has "{name}", whose shape is known only when the model runs; Caffe needs fixed shapes')
        return self.shapes[name]


def read_graph(path: str, shapes: Mapping[str, Shape] | None = None, *, layers: bool = True) -> Graph:
    """The graph of an ONNX file. `shapes` of inputs by name where the model leaves more than the batch free.

    With `layers`, those that the model tells it was made of take the place of their operators.

    Raises ModelError for a file that is no model, names files outside its folder, is not valid ONNX, or asks for
    more memory than there is reason to give.
    """
    import onnx

    model = read_model(path)
    if model.functions or model.graph.sparse_initializer or model.training_info:
        raise ModelError("holds functions, sparse weights or training; only plain graphs are converted")
    _load_external(model, Path(path).resolve().parent)
    for tensor in model.graph.initializer:
        _check_size(tensor)
    properties = {entry.key: entry.value for entry in model.metadata_props}
    metadata = read_metadata(properties, path)
    try:
        onnx.checker.check_model(model)
    except Exception as error:  # ONNX has several kinds
        raise ModelError(f"is not valid ONNX: {' '.join(str(error).split())[:300]}") from None
    light = _without_weights(model)
    guessed = [value.name for value in light.graph.input if value.name not in (shapes or {}) and _leaves_free(value)]
    free = _fix_inputs(light.graph, {tensor.name for tensor in model.graph.initializer}, shapes or {}, metadata)
    doubled = _doubled(light, {tensor.name for tensor in model.graph.initializer}) if free else {}
    try:
        inferred, computed = settled(light)
    except ModelError as error:
        if guessed:
            error.message += f"; with a batch of 1: --shape {guessed[0]}=N,... gives another"
        raise
    graph = Graph(
        model=model,
        name=metadata.net or model.graph.name,
        opset=max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1),
        nodes=[],
        inputs={},
        outputs=[value.name for value in model.graph.output],
        shapes={},
        types={},
        free_batch=bool(doubled),
        doubled=doubled,
        tensors={**{tensor.name: tensor for tensor in model.graph.initializer}, **computed},
    )
    for value in [*inferred.input, *inferred.value_info, *inferred.output]:
        _note(graph, value)
    for value in light.graph.input:
        if value.name not in graph.tensors:
            graph.inputs[value.name] = graph.shapes[value.name]
    nodes = _nodes(graph, model.graph.node)
    if layers:
        nodes = _with_layers(graph, nodes, read_told(properties.get(PROPERTY, "")))
    graph.nodes = _needed(graph, nodes)
    return graph


def _with_layers(graph: Graph, nodes: list[Node], entries: list[Told]) -> list[Node]:
    """The nodes in order, with one of the domain `TOLD` for each layer told in place of those that make its tops.

    What these alone read is left, and read by nobody.
    """
    made = {name for node in nodes for name in node.outputs} | set(graph.inputs)
    constants = {name: array_of(graph.tensors[name], name) for name in _constants(entries) & graph.tensors.keys()}
    found = usable(entries, made, constants)
    replaced = {name for entry, _ in found for name in entry.layer.top}
    for name in replaced & graph.tensors.keys():  # an output that does not hang on the input
        del graph.tensors[name]
    place = {name: i for i, node in enumerate(nodes) for name in node.outputs}
    placed = [(float(i), node) for i, node in enumerate(nodes) if not replaced.intersection(node.outputs)]
    last = -1.0
    for entry, blobs in found:
        layer = entry.layer
        last = max((place[name] for name in layer.top if name in place), default=last)
        attributes = {"layer": layer, "blobs": blobs}
        placed.append((last, Node(layer.type, layer.name, list(layer.bottom), list(layer.top), attributes, TOLD)))
    ordered = _in_order([node for _, node in sorted(placed, key=lambda pair: pair[0])])
    graph.told = len(found)
    return ordered if len(ordered) == len(placed) else nodes


def _in_order(nodes: list[Node]) -> list[Node]:
    """Each behind those that it reads from, else as they stand; those that read what they make are left out."""
    maker = {name: i for i, node in enumerate(nodes) for name in node.outputs}
    needs = [{maker[name] for name in node.inputs if name in maker} for node in nodes]
    readers: list[list[int]] = [[] for _ in nodes]
    for i, before in enumerate(needs):
        for j in before:
            readers[j].append(i)
    ready, ordered = [i for i, before in enumerate(needs) if not before], []
    while ready:
        i = heapq.heappop(ready)
        ordered.append(nodes[i])
        for reader in readers[i]:
            needs[reader].discard(i)
            if not needs[reader]:
                heapq.heappush(ready, reader)
    return ordered


def _constants(entries: list[Told]) -> set[str]:
    return {blob.constant for entry in entries for blob in entry.blobs}


def array_of(tensor: TensorProto, name: str) -> Array:
    """The numbers of a TensorProto. Raises ModelError for one that is damaged or has no numbers of Caffe's."""
    array = values_of(tensor, name)
    if array.dtype.kind not in "fiub" or array.dtype == np.float16:
        raise ModelError(f'weights "{name}" are {array.dtype} numbers; Caffe has float32')
    return array


def _load_external(model: Any, folder: Path) -> None:
    """Put weights that lie in files beside the model into it; that they lie there was checked before."""
    import onnx

    for tensor in model.graph.initializer:
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        file = folder / entries.get("location", "")
        try:
            size = _check_size(tensor)
            offset = int(entries.get("offset", 0))
        except ValueError:
            raise ModelError(f'weights "{tensor.name}" say no number as their offset in {file.name}') from None
        with reading.opened(file, ModelError, f'weights "{tensor.name}"') as stream:
            if offset < 0 or offset + size > os.fstat(stream.fileno()).st_size:
                raise ModelError(f'weights "{tensor.name}": {file.name} does not hold their {size} bytes')
            stream.seek(offset)
            tensor.raw_data = stream.read(size)
        del tensor.external_data[:]
        tensor.ClearField("data_location")


def _check_size(tensor: TensorProto) -> int:
    """The bytes that a tensor claims. Raises ModelError for more than fit a file of weights."""
    from onnx import helper

    try:
        itemsize = helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    except (KeyError, ValueError, TypeError):
        raise ModelError(f'weights "{tensor.name}" are of an unknown type, {tensor.data_type}') from None
    if any(size < 0 for size in tensor.dims) or math.prod(tensor.dims) * itemsize > _MOST_BYTES:
        raise ModelError(f'weights "{tensor.name}" claim the shape {list(tensor.dims)}, more than a file can hold')
    return math.prod(tensor.dims) * itemsize


def _fix_inputs(graph: Any, constants: set[str], shapes: Mapping[str, Shape], metadata: Metadata) -> bool:
    """Give every input a fixed shape: a free batch is 1. Returns whether all batches were free."""
    inputs = [value for value in graph.input if value.name not in constants]
    for name in shapes:
        if name not in {value.name for value in inputs}:
            have = ", ".join(value.name for value in inputs)
            raise ModelError(f'there is no input "{name}" to give a shape; there is {have}')
    free = bool(inputs)
    for value in inputs:
        if value.type.WhichOneof("value") != "tensor_type" or not value.type.tensor_type.HasField("shape"):
            raise ModelError(f'input "{value.name}" is no tensor of a known number of axes')
        dims = value.type.tensor_type.shape.dim
        given = shapes.get(value.name)
        if given is not None and len(given) != len(dims):
            raise ModelError(f'input "{value.name}" has {len(dims)} axes, not the {len(given)} of its given shape')
        written = metadata.shapes.get(value.name, [1, *metadata.size])
        free = free and bool(dims) and not dims[0].HasField("dim_value")
        for axis, dim in enumerate(dims):
            if given is not None:
                wanted = given[axis]
            elif dim.HasField("dim_value"):
                wanted = dim.dim_value
            elif axis == 0 or dim.dim_param.startswith("batch"):  # as `sdcaffe export` calls that of a recurrent net
                wanted = 1
            elif len(dims) == len(written):
                wanted = written[axis]
            else:
                raise ModelError(
                    f'input "{value.name}" leaves axis {axis} free; Caffe needs a number: --shape {value.name}=1,...'
                )
            if not 1 <= wanted < 1 << 31:  # as a blob can have
                raise ModelError(f'input "{value.name}" has {wanted} values along axis {axis}')
            dim.dim_value = wanted
    return free


def _leaves_free(value: Any) -> bool:
    return any(not dim.HasField("dim_value") for dim in value.type.tensor_type.shape.dim)


def _without_weights(model: Any) -> Any:
    """The model with large weights as inputs: shapes are found without copying numbers."""
    import onnx

    light = onnx.ModelProto()
    light.ir_version = model.ir_version
    light.opset_import.extend(model.opset_import)
    graph = light.graph
    graph.name = model.graph.name
    graph.node.extend(model.graph.node)
    given = {value.name for value in model.graph.input}
    graph.input.extend(model.graph.input)
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) <= 1024:
            graph.initializer.append(tensor)
        elif tensor.name not in given:
            graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    for value in model.graph.output:  # shapes of outputs are found, whatever is claimed
        bare = graph.output.add(name=value.name)
        bare.type.tensor_type.elem_type = value.type.tensor_type.elem_type
    return light


def _doubled(light: Any, weights: set[str]) -> dict[str, Shape]:
    """The shapes at twice the batch; none where the model is for one batch after all."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(light)
    for value in copy.graph.input:
        if value.name not in weights:
            value.type.tensor_type.shape.dim[0].dim_value *= 2
    shapes: dict[str, Shape] = {}
    try:
        inferred, _ = settled(copy)
        for value in [*inferred.input, *inferred.value_info, *inferred.output]:
            _note_shape(shapes, value)
    except ModelError:
        return {}
    return shapes


def _note(graph: Graph, value: Any) -> None:
    graph.types[value.name] = value.type.tensor_type.elem_type
    _note_shape(graph.shapes, value)


def _note_shape(shapes: dict[str, Shape], value: Any) -> None:
    kind = value.type.tensor_type
    if kind.HasField("shape") and all(dim.HasField("dim_value") for dim in kind.shape.dim):
        shape = tuple(dim.dim_value for dim in kind.shape.dim)
        if any(size < 0 for size in shape) or math.prod(shape) > _MOST_VALUES:
            raise ModelError(f'"{value.name}" has the shape {list(shape)}, more than is reasonable')
        shapes[value.name] = shape


def _nodes(graph: Graph, nodes: Any) -> list[Node]:
    from onnx import helper

    found = []
    for node in nodes:
        new = Node(node.op_type, node.name, list(node.input), list(node.output), {}, node.domain)
        for attribute in node.attribute:
            if attribute.type not in (attribute.GRAPH, attribute.GRAPHS, attribute.TENSOR):
                value = helper.get_attribute_value(attribute)
                value = [float(x) for x in value] if attribute.type == attribute.FLOATS else value
                new.attributes[attribute.name] = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        for word in (new.name, *new.inputs, *new.outputs):
            if not word.isprintable():
                raise ModelError(f"the name {word[:80]!r} of a node, or of what it reads or makes, is not printable")
        if graph.tensors.keys() >= set(node.output):
            continue
        if node.op_type == "Constant":
            _note_constant(graph, node)
        elif node.op_type == "Identity" and node.input[0] in graph.tensors:
            graph.tensors[node.output[0]] = graph.tensors[node.input[0]]
        else:
            found.append(new)
    return found


def _note_constant(graph: Graph, node: Any) -> None:
    from onnx import helper, numpy_helper

    (attribute,) = node.attribute
    value = helper.get_attribute_value(attribute)
    if attribute.name in ("value_float", "value_floats"):
        value = numpy_helper.from_array(np.array(value, np.float32))
    elif attribute.name in ("value_int", "value_ints"):
        value = numpy_helper.from_array(np.array(value, np.int64))
    elif attribute.name != "value":
        return
    _check_size(value)
    graph.tensors[node.output[0]] = value


def _needed(graph: Graph, nodes: list[Node]) -> list[Node]:
    wanted, kept = set(graph.outputs), []
    for node in reversed(nodes):
        if wanted.intersection(node.outputs):
            kept.append(node)
            wanted.update(node.inputs[:1] if node.op in _FIRST_ONLY and node.domain != TOLD else node.inputs)
    return kept[::-1]
