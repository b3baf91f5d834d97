"""The layers that an exported model was made of: told in its metadata, and believed when it comes back.

An operator says less than the layer it came from: which axis was free, that ten operators were one layer. What is told
is checked like any text of a stranger's, and the net that is made of it is held against the model.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sdcaffe import proto
from sdcaffe.converters.onnx_module import ExportModule
from sdcaffe.converters.onnx_tidy import Names
from sdcaffe.errors import SdcaffeError
from sdcaffe.layers import discover
from sdcaffe.layers.base import DataLayer, class_of
from sdcaffe.net import Net
from sdcaffe.net.stages import Stage

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto

PROPERTY = "layers"
_MOST_ZEROS = 1 << 20  # of a bias
_LEFT_OUT = ("phase", "include", "exclude", "loss_weight", "propagate_down", "param", "blobs")


@dataclass
class Blob:
    """The constant of a model that holds a blob of this shape, transposed or as it is; "" where all of it is 0."""

    constant: str
    shape: tuple[int, ...]
    transposed: bool = False

    def array(self, constants: Mapping[str, NDArray[Any]]) -> NDArray[np.float32] | None:
        """The blob, None where the constant is another one's, or is not there."""
        if not self.constant and math.prod(self.shape) <= _MOST_ZEROS:
            return np.zeros(self.shape, np.float32)
        if self.constant not in constants:
            return None
        constant = constants[self.constant]
        if constant.size != math.prod(self.shape) or constant.dtype != np.float32:
            return None
        return (constant.T if self.transposed else constant).reshape(self.shape)


@dataclass
class Told:
    """A layer whose bottoms and tops are values of the model, or tops of layers that are told before it."""

    layer: proto.LayerParameter
    blobs: list[Blob] = field(default_factory=list)


# ---- out ----


def told(model: ModelProto, owners: Sequence[int | None], module: ExportModule, net: Net) -> str:
    """The metadata of a ModelProto whose node i came from the stage `owners[i]` of `module`.

    A stage that took in another, or whose values are not to be found, is left to its operators.
    """
    graph, stages = model.graph, module.stages
    outside = _read_outside(model, owners)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    given = [value.name for value in graph.input if value.name not in constants]
    values = dict(zip(module.inputs, given, strict=True))
    names = Names({name for node in graph.node for name in (*node.input, *node.output)} | constants.keys())
    own: dict[int | None, dict[str, Any]] = {}  # the constants that a stage's nodes read
    for node, owner in zip(graph.node, owners, strict=True):
        own.setdefault(owner, {}).update((name, constants[name]) for name in node.input if name in constants)
    entries = []
    for i, stage in enumerate(stages):
        read = {slot for later in stages[i + 1 :] for slot in later.bottoms} | set(module.outputs)
        found, wanted = outside.get(i, []), [slot for slot in stage.tops if slot in read]
        if i in owners and len(found) == len(wanted):
            values.update(_matched(wanted, found, net))
        elif i in owners:
            continue
        elif _same(stage, net):
            values.update(
                (top, values[slot]) for slot, top in zip(stage.bottoms, stage.tops, strict=True) if slot in values
            )
            continue
        values.update((slot, names.new(net.graph.slots[slot])) for slot in stage.tops if slot not in values)
        if not stage.changed and all(slot in values for slot in stage.bottoms):
            entry = _entry(stage, values, own.get(i, {}))
            entries += [entry] if entry is not None else []
    return json.dumps(entries)


def _matched(tops: Sequence[int], found: Sequence[str], net: Net) -> dict[int, str]:
    """The values of a stage's tops: those called as a blob are that blob, the others stand in order.

    A recurrent layer's last state is made before the sequence that it is the end of.
    """
    named = {slot: net.graph.slots[slot] for slot in tops if net.graph.slots[slot] in found}
    others = iter(name for name in found if name not in named.values())
    return {slot: named[slot] if slot in named else next(others) for slot in tops}


def _same(stage: Stage, net: Net) -> bool:
    """Whether a stage that no node came from gives what it takes, as Dropout does; else it gives constants."""
    shapes = [net.assembled.shapes[slot] for slot in (*stage.bottoms, *stage.tops)]
    return (stage.layer.keeps_places or stage.layer.views) and len(shapes) == 2 and shapes[0] == shapes[1]


def _read_outside(model: ModelProto, owners: Sequence[int | None]) -> dict[int, list[str]]:
    """The values that a stage's nodes make and others read, or the model gives, in order; sizes are none."""
    import onnx

    graph = model.graph
    inferred = onnx.shape_inference.infer_shapes(model).graph.value_info
    sizes = {value.name for value in inferred if value.type.tensor_type.elem_type == onnx.TensorProto.INT64}
    readers: dict[str, set[int | None]] = {value.name: {-1} for value in graph.output}
    for node, owner in zip(graph.node, owners, strict=True):
        for name in node.input:
            readers.setdefault(name, set()).add(owner)
    found: dict[int, list[str]] = {}
    for node, owner in zip(graph.node, owners, strict=True):
        if owner is not None:
            read = (name for name in node.output if readers.get(name, {owner}) != {owner})
            found.setdefault(owner, []).extend(name for name in read if name not in sizes)
    return found


def _entry(stage: Stage, values: Mapping[int, str], constants: Mapping[str, TensorProto]) -> dict[str, Any] | None:
    """None where the model does not have the layer's numbers as they are."""
    from onnx import numpy_helper

    layer, blobs = stage.layer, []
    for blob in layer.blobs:
        want = blob.detach().numpy()
        alike = {name: tensor for name, tensor in constants.items() if math.prod(tensor.dims) == want.size}
        for name, array in ((name, numpy_helper.to_array(tensor)) for name, tensor in alike.items()):
            if np.array_equal(array.reshape(want.shape), want):
                blobs.append([name, list(want.shape), False])
                break
            if array.shape == want.shape[::-1] and np.array_equal(array.T, want):
                blobs.append([name, list(want.shape), True])
                break
        else:
            if want.any() or want.size > _MOST_ZEROS:
                return None
            blobs.append(["", list(want.shape), False])  # as the exporter leaves out a bias of zeros
    text = proto.NetParameter()
    new = text.layer.add()
    new.CopyFrom(layer.layer_param)
    for name in _LEFT_OUT:
        new.ClearField(name)
    del new.bottom[:], new.top[:]
    new.name = stage.name
    new.bottom.extend(values[slot] for slot in stage.bottoms)
    new.top.extend(values[slot] for slot in stage.tops)
    return {"layer": proto.text.format(text), "blobs": blobs}


# ---- back ----


def read_told(text: str) -> list[Told]:
    """What a model's metadata tells; what is no layer that a deployed net may have is left out.

    A layer that runs Python, reads data or writes files is none.
    """
    discover()
    found = []
    try:
        entries = json.loads(text) if text else []
        for entry in entries:
            layer = _layer(str(entry["layer"]))
            blobs = [
                Blob(str(name), tuple(int(n) for n in shape), bool(turned)) for name, shape, turned in entry["blobs"]
            ]
            if layer is not None and all(n >= 0 for blob in blobs for n in blob.shape):
                found.append(Told(layer, blobs))
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return []
    return found


def _layer(text: str) -> proto.LayerParameter | None:
    net = proto.NetParameter()
    try:
        proto.text.parse(text, net, "the model's metadata")
        if len(net.layer) != 1:
            return None
        cls = class_of(net.layer[0])
    except SdcaffeError:
        return None
    if cls.given or cls.not_exported or issubclass(cls, DataLayer):
        return None
    new = cls.deployed(net.layer[0])
    return new if new is not None and new.type == net.layer[0].type else None


def usable(
    entries: Iterable[Told], made: set[str], constants: Mapping[str, NDArray[Any]]
) -> list[tuple[Told, list[NDArray[np.float32]]]]:
    """Those whose bottoms there are and whose constants fit, with their blobs; `made` are the values of the model."""
    known, found = set(made), []
    for entry in entries:
        arrays = [blob.array(constants) for blob in entry.blobs]
        blobs = [array for array in arrays if array is not None]
        names = [*entry.layer.bottom, *entry.layer.top]
        if len(blobs) == len(entry.blobs) and known.issuperset(entry.layer.bottom) and all(map(str.isprintable, names)):
            known.update(entry.layer.top)
            found.append((entry, blobs))
    return found
