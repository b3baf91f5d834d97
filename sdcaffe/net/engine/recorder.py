"""Writes down what layers compute, for fixed shapes, as an ONNX graph. Which operators there are it is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from sdcaffe.layers.writing import Attribute
from sdcaffe.net.stages import Stage

OPSET, IR_VERSION = 18, 9
TYPES = {
    torch.float32: TensorProto.FLOAT,
    torch.float64: TensorProto.DOUBLE,
    torch.int64: TensorProto.INT64,
    torch.int32: TensorProto.INT32,
    torch.bool: TensorProto.BOOL,
    torch.uint8: TensorProto.UINT8,
}
_INLINE = 1024  # bytes: what is smaller lies in the model itself, for the session to look at


class Unsupported(Exception):
    """What a layer computes has no place in the graph; the message says why."""


class Recorder(TorchDispatchMode):
    """While it is entered, what torch does with `given` tensors becomes nodes; what hangs on none is computed.

    `given` tensors are fake: they have a shape and no values, so a layer that looks at values fails. `operators` are
    the functions that write torch's operators, as those of table.py. Products may read `owned` tensors where they lie:
    those of one row, which then take less time, and with `watched` all, so that what is written there needs no notice.
    """

    def __init__(
        self, operators: Mapping[str, Callable[..., object]], owned: Iterable[Tensor] = (), *, watched: bool = False
    ) -> None:
        super().__init__()
        self._operators, self._watched = operators, watched
        self.nodes: list[onnx.NodeProto] = []
        self.makers: dict[str, str] = {}  # value -> the operator that makes it
        self.constants: dict[str, Tensor] = {}
        self._owned = {_storage(tensor): tensor for tensor in owned}
        self._in_place: dict[str, Tensor] = {}  # constant -> the owned tensor that is read where it lies
        self._computed: set[int] = set()  # storages of owned tensors of which a value has gone into the graph
        self._fake = FakeTensorMode(static_shapes=True)
        self._names: dict[int, str] = {}  # id of a fake tensor -> its value
        self._reals: dict[int, Tensor] = {}  # id of a fake tensor -> the constant that it is
        self._fakes: dict[int, Tensor] = {}  # id of a constant -> its fake
        self._written: dict[int, str] = {}  # id of a constant -> its name in the graph
        self._alive: list[Any] = []  # an id is one tensor's for as long as that lives
        self._memory: dict[int, set[str]] = {}  # storage -> the values that lie there
        self._count = 0

    # ------------------------------------------------------------ what goes in and out

    def given(self, name: str, shape: Sequence[int]) -> Tensor:
        """A new input of the graph, float32."""
        return self.new(name, shape, torch.float32)

    def new(self, name: str, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        with self._fake:
            tensor = torch.empty(tuple(shape), dtype=dtype)
        self.call(tensor, name)
        return tensor

    def call(self, tensor: Tensor, name: str) -> None:
        """Let the value `name` of the graph be what `tensor` stands for."""
        self._alive.append(tensor)
        self._names[id(tensor)] = name
        self._memory.setdefault(_storage(tensor), set()).add(name)

    def name(self, tensor: Tensor) -> str:
        """The value that a tensor is in the graph; of a constant a new one."""
        if id(tensor) in self._names:
            return self._names[id(tensor)]
        real = self._reals.get(id(tensor), tensor)
        if isinstance(real, FakeTensor):
            raise Unsupported("it uses a second result of an operator that has one in ONNX")
        if id(real) not in self._written:
            self._alive.append(real)
            self._written[id(real)] = self.constant(real)
            self._memory.setdefault(_storage(real), set()).add(self._written[id(real)])
        return self._written[id(real)]

    def constant(self, value: Any, dtype: torch.dtype | None = None) -> str:
        """A new constant of the graph: a tensor, or numbers of `dtype`."""
        tensor = value if isinstance(value, Tensor) else torch.tensor(value, dtype=dtype)
        if tensor.dtype not in TYPES:
            raise Unsupported(f"it computes in {tensor.dtype}")
        name = self.fresh("c")
        self.constants[name] = tensor.detach()
        self._computed.add(_storage(tensor))
        return name

    def in_place(self, tensor: Tensor, rows: int) -> str | None:
        """An input of the graph for a factor that is a whole `owned` tensor; None where it is not, or does not pay."""
        owner = self._owned.get(_storage(tensor)) if rows == 1 or self._watched else None
        if owner is None or tensor.nbytes < _INLINE or tensor.dtype != torch.float32:
            return None
        if tensor.shape != owner.shape or not (tensor.is_contiguous() and owner.is_contiguous()):
            return None
        name = self.fresh("c")
        self._in_place[name] = owner
        return name

    def fresh(self, stem: str = "v") -> str:
        self._count += 1
        return f"{stem}{self._count}"

    def real(self, tensor: Tensor) -> Tensor | None:
        """The constant that a tensor is; None where it hangs on what is given."""
        return self._reals.get(id(tensor)) if isinstance(tensor, FakeTensor) else tensor

    def emit(
        self, op: str, inputs: Sequence[str], output: Tensor | None = None, count: int = 1, **attributes: Any
    ) -> Any:
        """Append a node: the name of its output, or the names where there are several. `output` is what the one is."""
        names = [self.fresh() for _ in range(count)]
        self.makers.update(dict.fromkeys(names, op))
        self.nodes.append(helper.make_node(op, list(inputs), names, **attributes))
        if output is not None:
            self.call(output, names[0])
        return names[0] if count == 1 else names

    def cast(self, tensor: Tensor, dtype: torch.dtype) -> str:
        """A tensor's value in the type `dtype`."""
        if tensor.dtype == dtype:
            return self.name(tensor)
        real = self.real(tensor)
        return self.constant(real.to(dtype)) if real is not None else self.converted(self.name(tensor), dtype)

    def converted(self, name: str, dtype: torch.dtype) -> str:
        if dtype not in TYPES:
            raise Unsupported(f"it computes in {dtype}")
        found: str = self.emit("Cast", [name], to=TYPES[dtype])
        return found

    # ------------------------------------------------------------ what torch does

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if torch.Tag.nondeterministic_seeded in function.tags:
            raise Unsupported(f"it draws random numbers ({function})")
        reals = [self.real(tensor) for tensor in tensors]
        if all(real is not None for real in reals):
            return self._constant(function, args, kwargs, [real for real in reals if real is not None])
        if function.namespace == "prim":  # a tensor's device, or its layout
            return function(*tree_map(self._as_fake, args), **kwargs)
        mutable = function._schema.is_mutable
        packet = function.overloadpacket.__name__
        operator = self._operators.get(packet.removesuffix("_") if mutable else packet)
        if operator is None or (mutable and not packet.endswith("_")):
            raise Unsupported(f"torch's {packet} is not among what is written as ONNX")
        if mutable and (self.real(args[0]) is not None or len(self._memory.get(_storage(args[0]), ())) > 1):
            raise Unsupported(f"{packet} writes into what others read")
        own_args, own_kwargs = tree_map(self._as_fake, args), tree_map(self._as_fake, kwargs)
        with torch.no_grad():
            out = function(*own_args, **own_kwargs)
        if mutable:
            self._memory.pop(_storage(out), None)
        instead = operator(self, out, *args, **kwargs)
        self._alive.append(out)
        return instead if isinstance(instead, Tensor) else out

    def _constant(self, function: Any, args: Any, kwargs: Any, reals: list[Tensor]) -> Any:
        if function._schema.is_mutable and any(_storage(real) in self._memory for real in reals):
            raise Unsupported(f"{function} writes into what others read")

        def as_real(leaf: Any) -> Any:
            return self._reals.get(id(leaf), leaf) if isinstance(leaf, FakeTensor) else leaf

        out = function(*tree_map(as_real, args), **tree_map(as_real, kwargs))
        made = {_storage(leaf) for leaf in tree_leaves(out) if isinstance(leaf, Tensor)}
        self._computed.update(_storage(real) for real in reals if _storage(real) not in made)
        return out

    def _as_fake(self, leaf: Any) -> Any:
        if not isinstance(leaf, Tensor) or isinstance(leaf, FakeTensor):
            return leaf
        if id(leaf) not in self._fakes:
            self._alive.append(leaf)
            fake = self._fakes[id(leaf)] = self._fake.from_tensor(leaf.detach())
            self._alive.append(fake)
            self._reals[id(fake)] = leaf
        return self._fakes[id(leaf)]

    # ------------------------------------------------------------ the model

    @property
    def read_in_place(self) -> dict[str, Tensor]:
        """Input of the graph -> the owned tensor that it is."""
        read = {name for node in self.nodes for name in node.input}
        return {name: tensor for name, tensor in self._in_place.items() if name in read}

    @property
    def unseen(self) -> list[Tensor]:
        """The owned tensors that the graph reads in place and nowhere else: it computes with what is written there."""
        return [t for t in self.read_in_place.values() if _storage(t) not in self._computed]

    def model(self, inputs: dict[str, Tensor], outputs: dict[str, Tensor]) -> tuple[bytes, dict[str, np.ndarray]]:
        """The model in bytes, and the constants that are to be put beside it when a session is made."""
        inputs = inputs | self.read_in_place
        for name, tensor in outputs.items():
            self.nodes.append(helper.make_node("Identity", [self.name(tensor)], [name]))
        read = {name for node in self.nodes for name in node.input}
        initializers, beside = [], {}
        for name, value in self.constants.items():
            if name not in read:
                continue
            array = value.contiguous().numpy()
            entry = TensorProto(name=name, data_type=TYPES[value.dtype], dims=array.shape)
            if array.nbytes < _INLINE:
                entry.raw_data = array.tobytes()
            else:
                beside[name] = array
                entry.data_location = TensorProto.EXTERNAL
                entry.external_data.add(key="location", value="beside")
            initializers.append(entry)
        given, made = (
            [helper.make_tensor_value_info(name, TYPES[t.dtype], tuple(t.shape)) for name, t in values.items()]
            for values in (inputs, outputs)
        )
        graph = helper.make_graph(self.nodes, "net", given, made, initializers)
        model = helper.make_model(graph, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)])
        return model.SerializeToString(), beside


class RecordedStage:
    """What a layer's `to_onnx` is given while a stage is recorded: the stage's numbers, nodes for its operators."""

    def __init__(self, stage: Stage, recorder: Recorder) -> None:
        self.blobs, self.scale, self.traced = stage.blobs, stage.scale, stage.traced
        self._recorder = recorder

    def operator(
        self,
        name: str,
        inputs: Sequence[Tensor],
        shape: Sequence[int],
        *,
        dtype: torch.dtype | None = None,
        **attributes: Attribute,
    ) -> Tensor:
        if not all(isinstance(size, int) for size in shape):
            raise Unsupported("the shape of a top hangs on values")
        words: dict[str, Any] = dict(attributes)
        top = self._recorder.emit(name, [self._recorder.name(value) for value in inputs], **words)
        return self._recorder.new(top, shape, dtype or inputs[0].dtype)


def _storage(tensor: Tensor) -> int:
    found: int = tensor.untyped_storage()._cdata
    return found
