"""Models of opset 18 in the words of an older one, from 11 on. What that cannot say is refused by the layer's name."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from sdcaffe.converters.onnx_metadata import ModelError

if TYPE_CHECKING:
    from onnx import ModelProto

OLDEST, TRACED = 11, 18  # the least that can be written, and that torch's exporter writes

_REDUCE = (
    *("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2"),
    *("ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare"),
)
_FLOATS = (1, 10, 11)  # TensorProto's float, half and double
_NEW = {  # attribute -> the opset that brought it, the value that older ones mean
    ("Resize", "antialias"): (18, 0),
    ("Resize", "keep_aspect_ratio_policy"): (18, b"stretch"),
    ("ScatterND", "reduction"): (16, b"none"),
    ("ScatterElements", "reduction"): (16, b"none"),
    ("BatchNormalization", "training_mode"): (14, 0),
    ("Reshape", "allowzero"): (14, 0),
    ("ArgMax", "select_last_index"): (12, 0),
    ("ArgMin", "select_last_index"): (12, 0),
    ("GatherND", "batch_dims"): (12, 0),
}


def lower(model: ModelProto, opset: int, layers: Iterable[str] = ()) -> None:
    """Write `model`, a ModelProto of opset `TRACED`, in `opset`.

    Raises ModelError where it cannot be, by the layer whose node it is: of the nodes of one of `layers` all but the
    last have a number behind its name.
    """
    _Lowering(model, opset, layers).run()


class _Lowering:
    def __init__(self, model: Any, opset: int, layers: Iterable[str]) -> None:
        import onnx

        self.layers = set(layers)
        self.model, self.graph, self.opset = model, model.graph, opset
        self.constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in self.graph.initializer}
        for node in self.graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self.constants[node.output[0]] = onnx.numpy_helper.to_array(node.attribute[0].t)
        inferred = onnx.shape_inference.infer_shapes(model).graph
        values = [*inferred.input, *inferred.value_info, *inferred.output]
        self.ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in values}
        self.kinds = {value.name: value.type.tensor_type.elem_type for value in values}
        self.floats = {name for name, kind in self.kinds.items() if kind in _FLOATS}
        self.floats.update(name for name, value in self.constants.items() if value.dtype.kind == "f")
        self.made: list[Any] = []
        self.names = {name for node in self.graph.node for name in (*node.input, *node.output)}

    def run(self) -> None:
        import onnx

        for node in list(self.graph.node):
            self._plain(node)
            for since, op, change in _CHANGES:
                if self.opset < since and node.op_type in op:
                    change(self, node)
                    break
            else:
                self.made.append(node)
        for node in self.made:
            try:
                onnx.defs.get_schema(node.op_type, self.opset, node.domain)
            except onnx.defs.SchemaError:
                raise self.error(node) from None
        del self.graph.node[:]
        self.graph.node.extend(self.made)
        read = {name for node in self.graph.node for name in node.input} | {value.name for value in self.graph.output}
        for tensor in [tensor for tensor in self.graph.initializer if tensor.name not in read]:
            self.graph.initializer.remove(tensor)
        del self.graph.value_info[:]
        del self.model.opset_import[:]
        self.model.opset_import.append(onnx.helper.make_opsetid("", self.opset))
        self.model.ir_version = onnx.helper.find_min_ir_version_for(list(self.model.opset_import))

    def error(self, node: Any) -> ModelError:
        name = node.name.rpartition("_")[0]
        layer = name if name in self.layers and node.name not in self.layers else node.name
        return ModelError(f'layer "{layer}" is {node.op_type} in ONNX, which opset {self.opset} cannot hold so')

    def _plain(self, node: Any) -> None:
        """Take out attributes that the opset does not have, where they say nothing."""
        import onnx

        for attribute in list(node.attribute):
            since, value = _NEW.get((node.op_type, attribute.name), (0, None))
            given = onnx.helper.get_attribute_value(attribute)
            if self.opset >= (18 if since and given in (b"max", b"min") else since):
                continue
            # Sizes that are known only when the model runs are those of blobs, which are not empty.
            zeros = node.op_type == "Reshape" and not self.constants.get(node.input[1], np.ones(1)).all()
            if given != value and (node.op_type != "Reshape" or zeros):
                raise self.error(node)
            node.attribute.remove(attribute)

    def constant(self, node: Any, index: int) -> list[int] | None:
        """The integers that an input is, None where there is none."""
        name = node.input[index] if index < len(node.input) else ""
        if not name:
            return None
        if name not in self.constants:
            raise self.error(node)
        return [int(value) for value in self.constants[name].reshape(-1)]

    def attribute(self, node: Any, name: str, default: Any = None) -> Any:
        import onnx

        return next((onnx.helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)

    def drop(self, node: Any, *names: str) -> None:
        for attribute in [a for a in node.attribute if a.name in names]:
            node.attribute.remove(attribute)

    def add(self, node: Any, op: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        """A further node of a layer; its output's name."""
        import onnx

        while not output or output in self.names:
            output = f"{output or node.output[0] + '_' + op.lower()}_"
        self.names.add(output)
        self.made.append(onnx.helper.make_node(op, inputs, [output], name=f"{node.name}.{output}", **attributes))
        return output

    def integers(self, values: list[int], name: str) -> str:
        import onnx

        while name in self.names:
            name += "_"
        self.names.add(name)
        self.graph.initializer.append(onnx.numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    # ---- what changed, an operator each ----

    def axes(self, node: Any) -> None:
        """The axes are an attribute, no input."""
        import onnx

        axes = self.constant(node, 1)
        if not axes and self.attribute(node, "noop_with_empty_axes", 0):
            raise self.error(node)
        self.drop(node, "noop_with_empty_axes")
        del node.input[1:]
        if axes:
            rank = self.ranks.get(node.input[0], 0) + (len(axes) if node.op_type == "Unsqueeze" else 0)
            node.attribute.append(onnx.helper.make_attribute("axes", [axis % rank if rank else axis for axis in axes]))
        self.made.append(node)

    def split(self, node: Any) -> None:
        """The sizes are an attribute, no input; without them all are equal. Computed ones are a Slice each."""
        import onnx

        if self.opset < 13 and len(node.input) > 1 and node.input[1] not in self.constants:
            self._slices(node)
            return
        sizes = None if self.opset >= 13 else self.constant(node, 1)
        self.drop(node, "num_outputs")
        if self.opset < 13:
            del node.input[1:]
            if sizes:
                node.attribute.append(onnx.helper.make_attribute("split", sizes))
        self.made.append(node)

    def _slices(self, node: Any) -> None:
        """What Split cuts by sizes that are known only when the model runs."""
        start = zero = self.integers([0], f"{node.output[0]}_zero")
        axis = self.integers([self.attribute(node, "axis", 0)], f"{node.output[0]}_axis")
        for i, top in enumerate(node.output):
            at = [self.integers([value], f"{node.output[0]}_{value}") for value in (i, i + 1)]
            end = self.add(node, "Add", [start, self.add(node, "Slice", [node.input[1], *at, zero])])
            self.names.discard(top)
            self.add(node, "Slice", [node.input[0], start, end, axis], top)
            start = end

    def pad(self, node: Any) -> None:
        axes = self.constant(node, 3)
        if axes is not None:
            pads, rank = self.constant(node, 1) or [], self.ranks[node.input[0]]
            full = [0] * 2 * rank
            for i, axis in enumerate(axes):
                full[axis % rank], full[axis % rank + rank] = pads[i], pads[i + len(axes)]
            node.input[1] = self.integers(full, f"{node.output[0]}_pads")
            del node.input[3:]
        self.made.append(node)

    def softmax(self, node: Any) -> None:
        """Over the last axis, for others are flattened with those behind them."""
        rank, axis = self.ranks[node.input[0]], self.attribute(node, "axis", -1)
        axis %= rank
        if axis == rank - 1:
            self.drop(node, "axis")
            self.made.append(node)
            self._say(node, axis)
            return
        perm = [i for i in range(rank) if i != axis] + [axis]
        back = [perm.index(i) for i in range(rank)]
        moved = self.add(node, "Transpose", [node.input[0]], perm=perm)
        top = self.add(node, node.op_type, [moved], axis=rank - 1)
        self.names.discard(node.output[0])
        self.add(node, "Transpose", [top], node.output[0], perm=back)

    def _say(self, node: Any, axis: int) -> None:
        import onnx

        node.attribute.append(onnx.helper.make_attribute("axis", axis))

    def shape(self, node: Any) -> None:
        """The sizes from a start to an end are a Slice of all of them."""
        start, end = self.attribute(node, "start", 0), self.attribute(node, "end", np.iinfo(np.int32).max)
        if not any(a.name in ("start", "end") for a in node.attribute):
            self.made.append(node)
            return
        whole = self.add(node, "Shape", [node.input[0]])
        bounds = [self.integers([value], f"{node.output[0]}_{i}") for i, value in enumerate((start, end))]
        self.names.discard(node.output[0])
        self.add(node, "Slice", [whole, *bounds], node.output[0])

    def cast_like(self, node: Any) -> None:
        """The type of a value is a number."""
        import onnx

        kind = self.kinds.get(node.input[1], onnx.TensorProto.UNDEFINED)
        if kind == onnx.TensorProto.UNDEFINED:
            raise self.error(node)
        self.made.append(onnx.helper.make_node("Cast", node.input[:1], node.output, name=node.name, to=kind))

    def hard_swish(self, node: Any) -> None:
        """x times HardSigmoid of x, whose slope is a sixth."""
        gate = self.add(node, "HardSigmoid", list(node.input), alpha=1 / 6, beta=0.5)
        self.names.discard(node.output[0])
        self.add(node, "Mul", [node.input[0], gate], node.output[0])

    def extreme(self, node: Any) -> None:
        """Of integers, the least or the greatest is chosen by a comparison; Clip is both."""
        if any(name in self.floats for name in node.input):
            self.made.append(node)
            return
        best, *others = node.input
        words = ("Greater", "Less") if node.op_type == "Clip" else ("Less" if node.op_type == "Min" else "Greater",)
        pairs = [(word, other) for word, other in zip(itertools.cycle(words), others) if other]
        for i, (word, other) in enumerate(pairs, 1):
            last = node.output[0] if i == len(pairs) else ""
            self.names.discard(last)
            best = self.add(node, "Where", [self.add(node, word, [best, other]), best, other], last)

    def compared(self, node: Any) -> None:
        """a >= b is not a < b."""
        less = self.add(node, "Less" if node.op_type.startswith("Greater") else "Greater", list(node.input))
        self.names.discard(node.output[0])
        self.add(node, "Not", [less], node.output[0])

    def constant_value(self, node: Any) -> None:
        """One tensor, of whatever the attribute holds."""
        import onnx

        (attribute,) = node.attribute
        if attribute.name != "value":
            kind = np.float32 if "float" in attribute.name else np.int64
            value = np.array(onnx.helper.get_attribute_value(attribute), kind)
            del node.attribute[:]
            node.attribute.append(onnx.helper.make_attribute("value", onnx.numpy_helper.from_array(value)))
        self.made.append(node)

    def resize(self, node: Any) -> None:
        """Regions and scales are there, if empty."""
        import onnx

        for index in (1, 2):
            if index < len(node.input) and not node.input[index]:
                name = f"{node.output[0]}_none{index}"
                self.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(0, np.float32), name))
                node.input[index] = name
        self.made.append(node)


_CHANGES: list[tuple[int, tuple[str, ...], Callable[[_Lowering, Any], None]]] = [
    (18, _REDUCE, _Lowering.axes),
    (13, ("ReduceSum", "Squeeze", "Unsqueeze"), _Lowering.axes),
    (18, ("Split",), _Lowering.split),
    (18, ("Pad",), _Lowering.pad),
    (13, ("Softmax", "LogSoftmax"), _Lowering.softmax),
    (15, ("Shape",), _Lowering.shape),
    (15, ("CastLike",), _Lowering.cast_like),
    (14, ("HardSwish",), _Lowering.hard_swish),
    (12, ("GreaterOrEqual", "LessOrEqual"), _Lowering.compared),
    (12, ("Min", "Max", "Clip"), _Lowering.extreme),
    (12, ("Constant",), _Lowering.constant_value),
    (13, ("Resize",), _Lowering.resize),
]
