"""Brings a model of torch's exporter into Caffe's words: names of layers and blobs. Changes no number."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnx import ModelProto

_LAYER = re.compile(r"\blayer_(\d+)\b")
_INT64 = 7  # of TensorProto
_SCOPES = "pkg.torch.onnx.name_scopes"


def tidy(
    model: ModelProto,
    layers: list[str],
    blobs: dict[int, str],
    outer: dict[str, str],
    dimensions: dict[str, dict[int, str]],
) -> list[int | None]:
    """Name the parts of a ModelProto after layers and blobs, free sizes after `dimensions` (input -> axis -> name).

    `layers` holds the layer of each submodule `layer_i`, `blobs` the blob that it makes, where it makes one, `outer`
    the new names of inputs and outputs. What the exporter wrote about the program that it traced goes.
    Returns the submodule that each node came from.
    """
    graph = model.graph
    _drop_zero_biases(graph)
    owners = [_index(node) for node in graph.node]
    _guess_owners(graph, owners)
    owner = ["" if index is None else layers[index] for index in owners]
    nodes = Names(set())
    for node, layer in reversed(list(zip(graph.node, owner, strict=True))):
        node.name = nodes.new(layer or node.op_type)  # of several the last has the layer's plain name
    values = Names(set(outer.values()))
    renamed = dict(outer)
    earlier = []  # of the versions of a blob the last has its plain name
    for index, node in reversed(_last_nodes(graph).items()):
        if index in blobs and len(node.output) == 1 and node.output[0] not in renamed:
            if blobs[index] in values.taken:
                earlier.append((node.output[0], blobs[index]))
            else:
                renamed[node.output[0]] = values.new(blobs[index])
    renamed.update((name, values.new(blob)) for name, blob in earlier)
    for tensor in graph.initializer:
        match = re.match(r"layer_(\d+)\.(?:blobs\.|blob_)?", tensor.name)
        if tensor.name not in renamed:
            plain = f"{layers[int(match[1])]}.{tensor.name[match.end() :]}" if match else f"constant.{tensor.name}"
            renamed[tensor.name] = values.new(plain)
    for node, layer in zip(graph.node, owner, strict=True):
        for name in node.output:
            if name and name not in renamed:
                renamed[name] = values.new(f"{layer or node.op_type}.{name}")
    _rename(graph, renamed)
    for value in [*graph.input, *graph.output]:
        value.name = renamed.get(value.name, value.name)
    _name_dimensions(graph, dimensions)
    _strip(model)
    return owners


class Names:
    """Names that are given out once; one that is taken gets a number behind it."""

    def __init__(self, taken: set[str]) -> None:
        self.taken = taken
        self.counts: Counter[str] = Counter()

    def new(self, name: str) -> str:
        found = name
        while found in self.taken:
            self.counts[name] += 1
            found = f"{name}_{self.counts[name]}"
        self.taken.add(found)
        return found


def _last_nodes(graph: Any) -> dict[int, Any]:
    """The last node of each submodule, in the order of their last nodes; those that make sizes do not count."""
    last: dict[int, Any] = {}
    sizes = {value.name for value in graph.value_info if value.type.tensor_type.elem_type == _INT64}
    for node in graph.node:
        index = _index(node)
        if index is not None and not sizes.issuperset(node.output):
            last.pop(index, None)
            last[index] = node
    return last


def _index(node: Any) -> int | None:
    for entry in node.metadata_props:
        if entry.key == _SCOPES:
            match = _LAYER.search(entry.value)
            return int(match[1]) if match else None
    return None


def _guess_owners(graph: Any, owners: list[int | None]) -> None:
    """Give a node that the exporter added or merged the owner of the node that reads it, or of one that it reads."""
    maker = {name: i for i, node in enumerate(graph.node) for name in node.output}
    for i in reversed(range(len(owners))):
        for name in graph.node[i].input:
            j = maker.get(name)
            if j is not None and owners[j] is None:
                owners[j] = owners[i]
    for i, node in enumerate(graph.node):
        if owners[i] is None:
            owners[i] = next((owners[maker[name]] for name in node.input if name in maker), None)


def _drop_zero_biases(graph: Any) -> None:
    """Of convolutions without a bias the exporter makes ones with a bias of its own."""
    made = {tensor.name: tensor for tensor in graph.initializer if not tensor.name.startswith("layer_")}
    for node in graph.node:
        bias = made.get(node.input[2]) if node.op_type in ("Conv", "ConvTranspose") and len(node.input) > 2 else None
        if bias is not None and not any(bias.raw_data):
            del node.input[2]
    read = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    unread = [tensor for tensor in graph.initializer if tensor.name not in read]
    for tensor in unread:
        graph.initializer.remove(tensor)


def _rename(graph: Any, renamed: dict[str, str]) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                names[i] = renamed.get(name, name)
        for attribute in node.attribute:
            for inner in _graphs(attribute):
                _rename(inner, renamed)
    for tensor in graph.initializer:
        tensor.name = renamed.get(tensor.name, tensor.name)
    del graph.value_info[:]


def _name_dimensions(graph: Any, dimensions: dict[str, dict[int, str]]) -> None:
    words: dict[str, str] = {}
    for value in graph.input:
        for axis, word in dimensions.get(value.name, {}).items():
            size = value.type.tensor_type.shape.dim[axis]
            symbol = size.dim_param
            if symbol.isdecimal():  # torch 2.8 calls a free size "32"; that others fit is seen when the file is run
                size.dim_param = word
            elif symbol and symbol not in words:
                same = sum(other == word or other.startswith(f"{word}_") for other in words.values())
                words[symbol] = f"{word}_{same}" if same else word
    for value in [*graph.input, *graph.output]:
        for size in value.type.tensor_type.shape.dim:
            for symbol in re.findall(r"\bu\d+\b", size.dim_param):  # a count that only the values tell
                words.setdefault(symbol, f"items_{len(words)}" if "items" in words.values() else "items")
            if size.dim_param:
                size.dim_param = re.sub(r"[A-Za-z_]\w*", lambda found: words.get(found[0], found[0]), size.dim_param)


def _strip(model: Any) -> None:
    del model.metadata_props[:]
    model.ClearField("doc_string")
    graphs = [model.graph]
    while graphs:
        graph = graphs.pop()
        del graph.metadata_props[:]
        graph.ClearField("doc_string")
        for part in [*graph.node, *graph.input, *graph.output, *graph.initializer]:
            del part.metadata_props[:]
            part.ClearField("doc_string")
        for node in graph.node:
            for attribute in node.attribute:
                attribute.ClearField("doc_string")
                graphs.extend(_graphs(attribute))


def _graphs(attribute: Any) -> list[Any]:
    return [attribute.g] if attribute.HasField("g") else list(attribute.graphs)
