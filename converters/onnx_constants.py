"""What an ONNX graph computes from shapes alone, once its inputs have fixed shapes. Runs no other operator."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sdcaffe.converters.onnx_metadata import ModelError

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, TensorProto

_MOST_VALUES = 1 << 16  # of one computed constant
_OPERATORS = {"Gather", "Concat", "Slice", "Unsqueeze", "Squeeze", "Cast", "Reshape", "Identity", "ConstantOfShape"}
_OPERATORS |= {"Add", "Sub", "Mul", "Div", "Mod", "Floor", "Ceil", "Neg", "Abs", "Min", "Max", "Pow", "Sqrt"}
_OPERATORS |= {"Reciprocal", "ReduceProd", "ReduceSum", "Range", "Equal", "Less", "Greater", "And", "Or", "Not"}
_OPERATORS |= {"Where", "Expand", "Transpose", "Split", "Exp", "Log", "ScatterND", "Constant"}


def settled(model: ModelProto) -> tuple[GraphProto, dict[str, TensorProto]]:
    """The graph with the shapes of all values that are known, and computed constants, TensorProtos by name.

    The inputs of `model`, a ModelProto, have fixed shapes; it is changed. Raises ModelError for what is not ONNX.
    """
    import onnx

    computed: dict[str, TensorProto] = {}
    while True:
        try:
            inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True).graph
        except Exception as error:  # ONNX has several kinds
            raise ModelError(f"is not valid ONNX: {' '.join(str(error).split())[:300]}") from None
        new = _computed(model, inferred)
        if not new:
            return inferred, computed
        computed.update(new)
        kept = [node for node in model.graph.node if not set(node.output) <= computed.keys()]
        del model.graph.node[:]
        model.graph.node.extend(kept)
        model.graph.initializer.extend(new.values())


def values_of(tensor: TensorProto, name: str) -> NDArray[Any]:
    """The values of a TensorProto. Raises ModelError for one that holds fewer or more than it claims."""
    from onnx import numpy_helper

    try:
        return numpy_helper.to_array(tensor)
    except Exception as error:  # of numpy, of ONNX
        raise ModelError(f'weights "{name}" are damaged: {" ".join(str(error).split())[:200]}') from None


def _computed(model: ModelProto, inferred: GraphProto) -> dict[str, TensorProto]:
    from onnx import numpy_helper

    known: dict[str, NDArray[Any]] = {}
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) <= _MOST_VALUES:
            known[tensor.name] = values_of(tensor, tensor.name)
    shapes = {value.name: value.type.tensor_type for value in [*inferred.input, *inferred.value_info, *inferred.output]}
    new: dict[str, Any] = {}
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx") or len(node.output) == 0:
            continue
        if node.op_type == "Shape":
            kind = shapes.get(node.input[0])
            if kind is None or not kind.HasField("shape") or not all(d.HasField("dim_value") for d in kind.shape.dim):
                continue
            sizes = [dim.dim_value for dim in kind.shape.dim]
            bounds = {attribute.name: attribute.i for attribute in node.attribute}
            values = [np.array(sizes[bounds.get("start", 0) : bounds.get("end", len(sizes))], np.int64)]
        elif node.op_type in _OPERATORS and all(name in known for name in node.input if name):
            values = _evaluated(model, node, known)
        else:
            continue
        for name, value in zip(node.output, values, strict=False):
            known[name] = value
            new[name] = numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), name)
    return new


def _evaluated(model: Any, node: Any, known: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """The outputs of a node of constants; none where they would be large, or where it does not run."""
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    given = {name: known[name] for name in node.input if name}
    try:
        if node.op_type in ("ConstantOfShape", "Expand", "Range") and not _small(node, given):
            return []
        types = {name: helper.np_dtype_to_tensor_dtype(value.dtype) for name, value in given.items()}
        inputs = [helper.make_tensor_value_info(name, number, None) for name, number in types.items()]
        outputs = [helper.make_empty_tensor_value_info(name) for name in node.output if name]
        graph = helper.make_graph([node], "one", inputs, outputs)
        one = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
        found = ReferenceEvaluator(one).run(None, given)
    except Exception:  # numpy's and ONNX's kinds: what does not run is left to who needs its value
        return []
    small = all(isinstance(value, np.ndarray | np.generic) and value.size <= _MOST_VALUES for value in found)
    return [np.asarray(value) for value in found] if small else []


def _small(node: Any, given: dict[str, NDArray[Any]]) -> bool:
    if node.op_type == "Range":
        start, limit, step = (float(given[name].reshape(-1)[0]) for name in node.input)
        return step != 0 and abs(limit - start) / abs(step) <= _MOST_VALUES
    sizes = [max(int(size), 1) for size in given[node.input[-1]].reshape(-1)]
    return math.prod(sizes) * max(given[node.input[0]].size, 1) <= _MOST_VALUES * max(len(sizes), 1)
