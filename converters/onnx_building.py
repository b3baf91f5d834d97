"""A Caffe net that grows by the nodes of an ONNX graph: layers, their names and weights. Knows no operator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sdcaffe import proto
from sdcaffe.converters.onnx_graph import Array, Graph, Node, array_of
from sdcaffe.converters.onnx_metadata import ModelError
from sdcaffe.converters.onnx_tidy import Names
from sdcaffe.layers.base import Shape

FLOAT, INT64 = 1, 7  # of TensorProto
OPERATORS: dict[str, Callable[[Layers, Node], None]] = {}


def operator(*names: str) -> Callable[[Callable[[Layers, Node], None]], Callable[[Layers, Node], None]]:
    """Make a function the one that appends the layers of ONNX operators."""

    def add(function: Callable[[Layers, Node], None]) -> Callable[[Layers, Node], None]:
        OPERATORS.update(dict.fromkeys(names, function))
        return function

    return add


class Layers:
    """The layers made so far: `param` is the net, `blobs` the weights by layer name.

    `alias` holds values that are others under another name, `indices` integers that are a blob's numbers, `compared`
    the nodes that compare and have no layer yet.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.param: Any = proto.NetParameter(name=graph.name)
        self.blobs: dict[str, list[Array]] = {}
        self.alias: dict[str, str] = {}
        self.compared: dict[str, Node] = {}
        self.indices: dict[str, str] = {}
        self.names = Names(set())
        for name, shape in graph.inputs.items():
            layer = self.param.layer.add(name=self.names.new(name), type="Input", top=[name])
            layer.input_param.shape.add().dim.extend(shape)
            if graph.types[name] != FLOAT:
                raise ModelError(f'input "{name}" takes no float32 numbers; sdcaffe export without --preprocess does')

    def add(
        self, node: Node, kind: str, blobs: Sequence[Array | None] = (), name: str = "", **wiring: Sequence[str]
    ) -> proto.LayerParameter:
        """A layer for a node: it reads the node's first input and makes its first output, unless `wiring` differs."""
        bottoms = wiring.get("bottom") or [self.bottom(node, node.inputs[0])]
        tops = wiring["top"] if "top" in wiring else node.outputs[:1]
        plain = name or _name_of_weight(node) or node.name or tops[0]
        layer = self.param.layer.add(name=self.names.new(plain), type=kind, bottom=bottoms, top=tops)
        kept = [np.array(blob, np.float32, order="C") for blob in blobs if blob is not None]
        if kept:
            self.blobs[layer.name] = kept
        return layer

    def told(self, node: Node) -> None:
        """The layer that a node is, as the model tells it."""
        layer = self.param.layer.add()
        layer.CopyFrom(node.attributes["layer"])
        layer.name = self.names.new(node.name)
        del layer.bottom[:]
        layer.bottom.extend(self.bottom(node, name) for name in node.inputs)
        if node.attributes["blobs"]:
            self.blobs[layer.name] = [np.array(blob, np.float32, order="C") for blob in node.attributes["blobs"]]

    def constant(self, name: str) -> None:
        """A Parameter for an output that hangs on no input. Raises ModelError where it is none."""
        if name not in self.graph.tensors:
            made = next((f", a {node.op} in ONNX," for node in self.graph.nodes if name in node.outputs), "")
            raise ModelError(f'output "{name}"{made} is made by no layer')
        array = array_of(self.graph.tensors[name], name)
        layer = self.param.layer.add(name=self.names.new(name), type="Parameter", top=[name])
        layer.parameter_param.shape.dim.extend(array.shape)
        self.blobs[layer.name] = [np.array(array, np.float32, order="C")]

    def same(self, node: Node) -> None:
        """A node that changes nothing: its output is another name, or a Power where the model gives it."""
        source = self.bottom(node, node.inputs[0])
        if node.outputs[0] in self.graph.outputs:
            self.add(node, "Power")
        else:
            self.alias[node.outputs[0]] = source

    def bottom(self, node: Node, value: str) -> str:
        """The blob of a value. Raises ModelError for a constant, and for what are no float32 numbers."""
        if value in self.graph.tensors:
            raise node.error(f'reads the constant "{value}" where Caffe reads a blob')
        if self.graph.types.get(value, FLOAT) != FLOAT:
            raise node.error(f'reads "{value}", which are no float32 numbers; Caffe has only those')
        return self.alias.get(value, value)

    def shape(self, node: Node, index: int = 0) -> Shape:
        return self.graph.shape(node, node.inputs[index])

    def top_shape(self, node: Node) -> Shape:
        return self.graph.shape(node, node.outputs[0])

    def weight(self, node: Node, index: int) -> Array:
        found = self.graph.constant(node, index)
        if found is None:
            raise node.error(f"lacks input {index}")
        return found


def _name_of_weight(node: Node) -> str:
    """What PyTorch called a module: its weight is that name and ".weight"."""
    for value in node.inputs[1:2]:
        if value.endswith(".weight"):
            return value.removesuffix(".weight")
    return ""
