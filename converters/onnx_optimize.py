"""The exporter's own optimizing of what it traced, kept from rounding numbers away. Changes no number."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx_ir.passes.common import OutputFixPass
from onnxscript import ir
from onnxscript.optimizer import fold_constants, remove_unused_nodes

if TYPE_CHECKING:
    import torch

_NEUTRAL = {"Add": 0.0, "Sub": 0.0, "Mul": 1.0, "Div": 1.0}
_MOST_VALUES = 1 << 16  # of a constant that takes the place of an operator
_NEAR = 1e-4  # the optimizer's own tolerance is narrower


def optimize(program: torch.onnx.ONNXProgram, *, fold: bool) -> None:
    """Optimize an ONNXProgram in place; without `fold` only what is constant is computed. Outputs may get other names.

    The optimizer takes x + 1e-9 for x, and with it what keeps a norm from dividing by 0.
    """
    fold_constants(program.model)
    for node in list(program.model.graph):
        if node.op_type == "ConstantOfShape" and not node.domain:
            _fill(program.model.graph, node)
    if not fold:
        remove_unused_nodes(program.model)
        OutputFixPass()(program.model)  # gives an output that is an input a node of its own
        return
    for node in list(program.model.graph):
        if node.op_type in _NEUTRAL and not node.domain:
            _shield(program.model.graph, node)
    program.optimize()
    _keep_constants(program.model.graph)


def _keep_constants(graph: Any) -> None:
    """Of two Flattens of one value the optimizer forgets the constant of the first, for both have one name."""
    for node in graph:
        for value in node.inputs:
            if value is None or value.const_value is None or value.producer() is not None or value.is_graph_input():
                continue
            if graph.initializers.get(value.name) is not value:
                value.name = f"{value.name}/{len(graph.initializers)}"
                graph.register_initializer(value)


def _fill(graph: Any, node: Any) -> None:
    """Make a ConstantOfShape of few numbers, whose shape is known, a Constant, which the optimizer leaves as it is."""
    shape, value = node.inputs[0].const_value, node.attributes.get("value")
    if shape is None or node.outputs[0].is_graph_output() or math.prod(shape.numpy().tolist()) > _MOST_VALUES:
        return
    one = np.zeros(1, np.float32) if value is None else value.as_tensor().numpy()
    new = ir.node("Constant", [], attributes={"value": ir.tensor(np.broadcast_to(one, shape.numpy().tolist()).copy())})
    graph.insert_before(node, new)
    node.outputs[0].replace_all_uses_with(new.outputs[0])
    graph.remove(node, safe=True)


def _shield(graph: Any, node: Any) -> None:
    """Make an operand that is nearly neutral an array of one number: the optimizer leaves out only single numbers."""
    neutral = _NEUTRAL[node.op_type]
    for i, value in enumerate(node.inputs):
        constant, other = value.const_value, node.inputs[1 - i]
        if constant is None or constant.shape.rank() or other.shape is None or not other.shape.rank():
            continue
        number = constant.numpy()
        if 0 < abs(float(number) - neutral) < _NEAR:
            new = ir.node("Constant", [], attributes={"value": ir.tensor(np.reshape(number, 1))})
            graph.insert_before(node, new)
            node.replace_input_with(i, new.outputs[0])
