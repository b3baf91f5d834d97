"""Exported models in half precision. What that type cannot hold stays in float32."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdcaffe.converters.onnx_check import relative_difference
from sdcaffe.converters.onnx_runtime import give, open_session

Feed = Mapping[str, NDArray[Any]]

LARGEST = 65504 / 4  # of half precision, with room for inputs other than those tried
SMALLEST = 2.0**-14  # below it half precision loses digits
ROUNDING = 2.0**-8  # by which a weight may be off: four times what rounding alone does
APART = 0.01  # of the largest value of an output: where more is lost, more stays in float32

_SQUARES = ("LRN", "LpNormalization", "ReduceL2", "ReduceSumSquare", "InstanceNormalization", "LayerNormalization")
_MOST_ROUNDS = 24


def half(data: bytes, feed: Feed, judged: Sequence[str]) -> tuple[bytes, list[str]]:
    """A model's bytes in half precision, its inputs and outputs still float32; and the nodes that stay in float32.

    Those are nodes that read or make numbers that half precision does not hold for the inputs `feed`: larger than
    `LARGEST`, smaller than `SMALLEST`, or weights that it rounds away; and what else makes the values `judged` differ
    by more than `APART`.
    """
    import onnx

    model = onnx.ModelProto.FromString(data)
    _name_nodes(model.graph)
    full = dict(_values(model, feed))
    odd = {name for name, array in full.items() if not _held(array)}
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    odd |= {name for name, array in weights.items() if not _held(array, weight=True)}
    kept = {node.name for node in model.graph.node if odd.intersection([*node.input, *node.output])}
    kept |= {node.name for node in model.graph.node if node.op_type in _SQUARES and _squares_leave(node, full, feed)}
    smaller = _converted(model, kept)
    for _ in range(_MOST_ROUNDS):
        got = dict(_values(smaller, feed))
        if all(relative_difference(_float(got[name]), full[name]) <= APART for name in judged if name in full):
            break
        more = _where_it_parts(model.graph, full, got) - kept
        if not more:
            break
        kept |= more
        smaller = _converted(model, kept)
    return smaller.SerializeToString(), [node.name for node in model.graph.node if node.name in kept]


def _converted(model: Any, kept: set[str]) -> Any:
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    smaller = convert_float_to_float16(copy, keep_io_types=True, node_block_list=sorted(kept))
    _join_casts(smaller.graph)
    _sort(smaller.graph)
    del smaller.graph.value_info[:]
    return smaller


def _sort(graph: Any) -> None:
    """Each node behind those that it reads: the converter puts its casts last."""
    waiting: list[Any] = list(graph.node)
    placed: list[Any] = []
    known = {"", *(value.name for value in graph.input), *(tensor.name for tensor in graph.initializer)}
    while waiting:
        later: list[Any] = []
        for node in waiting:
            ready = known.issuperset(node.input)
            (placed if ready else later).append(node)
            known.update(node.output if ready else ())
        waiting = later
    del graph.node[:]
    graph.node.extend(placed)


def _join_casts(graph: Any) -> None:
    """Between two nodes that stay in float32, or integers and such a node, the converter goes through half precision;
    here nothing does."""
    import onnx

    wide, narrow = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
    casts = {node.output[0]: node for node in graph.node if node.op_type == "Cast"}
    to = {name: onnx.helper.get_node_attr_value(node, "to") for name, node in casts.items()}
    for name, node in casts.items():
        before = casts.get(node.input[0])
        if to[name] == wide and before is not None and to[node.input[0]] == narrow:
            node.input[0] = before.input[0]
    read = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    for name, node in casts.items():
        if name not in read:
            graph.node.remove(node)


def _name_nodes(graph: Any) -> None:
    """The converter knows nodes by their names, so each has one of its own."""
    taken: set[str] = set()
    for i, node in enumerate(graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.name or node.op_type}_{i}"
        taken.add(node.name)


def _values(model: Any, feed: Feed) -> Iterator[tuple[str, NDArray[Any]]]:
    """Every array of floats that nodes make, by name."""
    import onnx

    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    inferred = onnx.shape_inference.infer_shapes(shown)
    kinds = {value.name: value.type.tensor_type.elem_type for value in inferred.graph.value_info}
    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
    give(shown, (name for node in model.graph.node for name in node.output if kinds.get(name) in floats))
    session = open_session(shown.SerializeToString(), "the exported model")
    names = [value.name for value in session.get_outputs()]
    for name, array in zip(names, session.run(names, dict(feed)), strict=True):
        if array.dtype in (np.float32, np.float16):
            yield name, array


def _held(array: NDArray[Any], *, weight: bool = False) -> bool:
    """Whether half precision holds an array; of weights each output's own, which may be much smaller than others'."""
    if array.dtype != np.float32 or not array.size:
        return True
    finite = array[np.isfinite(array)]
    largest = float(np.abs(finite).max(initial=0.0))
    if largest > LARGEST or 0 < largest < SMALLEST:
        return False
    if not weight or not array.ndim:
        return True
    rows = array.reshape(len(array), -1).astype(np.float64)
    off = np.abs(rows.astype(np.float16) - rows).max(1)
    own = np.abs(rows).max(1) if array.ndim > 1 else largest
    return bool((off <= ROUNDING * own).all())


def _squares_leave(node: Any, full: Mapping[str, NDArray[Any]], feed: Feed) -> bool:
    """Whether a node that squares what it reads would leave half precision inside."""
    array = full.get(node.input[0], feed.get(node.input[0]))
    return array is not None and not _held(np.square(array.astype(np.float32)).max(keepdims=True))


def _where_it_parts(graph: Any, full: Mapping[str, NDArray[Any]], got: Mapping[str, NDArray[Any]]) -> set[str]:
    """The first node whose output is off by more than half of `APART`, and those that make what it reads."""
    makers = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        for name in node.output:
            if name in full and name in got and relative_difference(_float(got[name]), full[name]) > APART / 2:
                return {node.name, *(makers[value].name for value in node.input if value in makers)}
    return set()


def _float(array: NDArray[Any]) -> NDArray[np.float32]:
    return array.astype(np.float32)
