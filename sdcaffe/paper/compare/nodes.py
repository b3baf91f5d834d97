"""A net's layers in canonical form: by type, settings and where their bottoms come from. Names are left out.

What Caffe does by itself is left out too: settings at their defaults, Split layers, and layers that nothing reads.
It knows no network and no mechanism.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from google.protobuf.message import Message

from sdcaffe import proto
from sdcaffe.layers.base import class_of, registered

Ref = tuple[int, int]  # who makes a blob, and which of its tops it is

_OUTSIDE = {"name", "type", "bottom", "top", "include", "exclude", "phase", "loss_weight", "param", "blobs"}
_OUTSIDE |= {"propagate_down", "python_param"}
_WITHOUT_MEANING = {"engine", "cudnn_flag", "force_nd_im2col"}  # how it is computed, not what
_IMPLIED = {"stride": "1", "pad": "0", "dilation": "1", "group": "1"}  # of a convolution, where nothing is said
_SAME = {"concat_dim": "axis", "slice_dim": "axis"}  # old names
_BY_STATE = "use_global_stats"  # a phase's default, or frozen: the same network


class Node(NamedTuple):
    """A layer. `inputs` are by place among the nodes; of what comes from outside, (-1, k) is the kth that is read.

    A layer written in Python says only part of its settings.
    """

    type: str
    settings: Mapping[str, str]
    inputs: tuple[Ref, ...]
    name: str = ""
    partial: bool = False

    @property
    def shape(self) -> tuple[object, ...]:
        """What stays when numbers change."""
        return self.type, self.inputs


class Wired:
    """The layers that a net has in one phase, and who makes the bottoms of each."""

    def __init__(self, net: proto.NetParameter) -> None:
        self.phase = int(net.state.phase)
        self.layers: list[Any] = list(net.layer)
        self.inputs: list[list[Ref]] = []
        self.settings = [settings(layer, self.phase) for layer in self.layers]
        latest: dict[str, Ref] = {}
        for i, layer in enumerate(self.layers):
            found = [latest.get(name, (-1, 0)) for name in layer.bottom]
            self.inputs.append(found)
            for k, top in enumerate(layer.top):
                latest[top] = found[0] if layer.type == "Split" and found else (i, k)

    def outside(self, index: int) -> bool:
        """Whether a layer brings images or labels: data layers do, and what distorts their images."""
        return index < 0 or not self.layers[index].bottom or self.layers[index].type == "Distort"

    def ancestors(self, root: int, inside: Callable[[int], bool] | None = None) -> list[int]:
        """The layers that `root` depends on and itself, makers before readers; `inside` bounds them."""
        inside = inside or (lambda index: not self.outside(index))
        return in_order([root], lambda index: [maker for maker, _ in self.inputs[index] if inside(maker)])

    def losses(self) -> list[int]:
        """The layers that add to the loss, in an order that is no matter of the file's."""
        found = [i for i, layer in enumerate(self.layers) if loss_weight(layer)]
        return sorted(found, key=lambda i: (type_of(self.layers[i]), self.inputs[i][:1]))

    def digests(self, network: frozenset[str] | None = None) -> list[str]:
        """For each layer a text that differs where what it computes of its images differs; "x" is images as they are.

        Given the digests of a `network`, what is outside of it and reads images gives images.
        """
        found: list[str] = []
        for i, layer in enumerate(self.layers):
            if self.outside(i):
                found.append("x")
                continue
            inputs = [f"{found[maker]}.{top}" if found[maker] != "x" else "x" for maker, top in self.inputs[i]]
            own = sorted(item for item in self.settings[i].items() if item[0] != _BY_STATE)
            digest = hashlib.sha256(repr((type_of(layer), own, inputs)).encode()).hexdigest()
            found.append("x" if network is not None and digest not in network and "x" in inputs else digest)
        return found

    def node(self, index: int, places: Mapping[int, int], outside: dict[Ref, int]) -> Node:
        """A layer whose makers are at `places`; those that are nowhere are numbered in `outside`."""
        layer = self.layers[index]
        inputs = tuple(
            (places[maker], top) if maker in places else (-1, outside.setdefault((maker, top), len(outside)))
            for maker, top in self.inputs[index]
        )
        found = self.settings[index] | learning(layer)
        if loss_weight(layer):
            found["loss_weight"] = f"{loss_weight(layer):g}"
        return Node(type_of(layer), found, inputs, layer.name, layer.type == "Python")


def in_order(roots: Iterable[int], makers: Callable[[int], Iterable[int]]) -> list[int]:
    """All that `roots` depend on and these, each once, makers before readers."""
    order: list[int] = []
    seen: set[int] = set()
    stack = [(root, False) for root in reversed(list(roots))]
    while stack:
        index, done = stack.pop()
        if done:
            order.append(index)
        elif index not in seen:
            seen.add(index)
            stack.append((index, True))
            stack += [(maker, False) for maker in reversed(list(makers(index)))]
    return order


def type_of(layer: proto.LayerParameter) -> str:
    """The layer's type, or its class in Python."""
    return str(layer.python_param.layer if layer.type == "Python" else layer.type)


def loss_weight(layer: proto.LayerParameter) -> float:
    """What the layer's first top counts in the loss; of a type that is not known here its name tells."""
    if layer.loss_weight:
        return float(layer.loss_weight[0])
    name = type_of(layer)
    return float(registered()[name].loss if name in registered() else name.endswith("Loss"))


def learning(layer: proto.LayerParameter) -> dict[str, str]:
    """How much faster or slower than others its parameters learn and decay, where they do."""
    if layer.type == "BatchNorm":  # has none that learn, whatever is written
        return {}
    found = {}
    for name in ("lr_mult", "decay_mult"):
        values = [getattr(param, name) for param in layer.param]
        if any(value != 1 for value in values):
            found[name] = " ".join(f"{value:g}" for value in values)
    return found


def settings(layer: proto.LayerParameter, phase: int) -> dict[str, str]:
    """The fields of a layer's own messages that are not at their defaults, by name."""
    if layer.type == "Python":
        return dict(_python_settings(layer.python_param.param_str))
    found: dict[str, str] = {}
    for field, message in layer.ListFields():
        if field.name not in _OUTSIDE:
            found |= flat(message)
    if found.get(_BY_STATE) == str(phase == proto.TEST).lower():
        del found[_BY_STATE]
    return {_SAME.get(name, name): text for name, text in found.items() if _IMPLIED.get(name) != text}


def defaults(layer: proto.LayerParameter) -> dict[str, str]:
    """The single values of a layer's own message, those at their defaults too."""
    own = None if layer.type == "Python" or layer.type not in registered() else class_of(layer).field
    if own is None:
        return {}
    message = getattr(layer, own)
    single = (field for field in message.DESCRIPTOR.fields if field.message_type is None)
    values = ((field, getattr(message, field.name)) for field in single)
    return {field.name: _shown(field, value) for field, value in values if not _repeated(value)}


def default(type_name: str, path: str) -> str:
    """What a setting is where nothing is said of it; empty where that is unknown."""
    own = registered()[type_name].field if type_name in registered() else None
    if own is None:
        return ""
    *outer, name = path.split(".")
    message = getattr(proto.LayerParameter(), own)
    for each in outer:
        message = getattr(message, each, message)
    field = message.DESCRIPTOR.fields_by_name.get(name)
    if field is None or _repeated(getattr(message, name)):
        return _IMPLIED.get(name, "")
    return _shown(field, field.default_value)


def flat(message: Message, prefix: str = "") -> dict[str, str]:
    """A message's fields as text, but for those at their defaults: `weight_filler.type`."""
    found: dict[str, str] = {}
    for field, value in message.ListFields():
        name = f"{prefix}{field.name}"
        if field.name in _WITHOUT_MEANING:
            continue
        if field.message_type is not None:
            for part in value if _repeated(value) else [value]:
                found |= flat(part, f"{name}.")
        elif _repeated(value):
            found[name] = " ".join(_shown(field, item) for item in value)
        elif value != field.default_value:
            found[name] = _shown(field, value)
    return found


def _repeated(value: Any) -> bool:
    return not hasattr(value, "ListFields") and not isinstance(value, (str, bytes, int, float, bool))


def _shown(field: Any, value: Any) -> str:
    if field.enum_type is not None:
        return str(field.enum_type.values_by_number[value].name).lower()
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _python_settings(text: str) -> Iterator[tuple[str, str]]:
    """What a Python layer's param_str says, if it is a dictionary."""
    try:
        values = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return
    if isinstance(values, dict):
        for name, value in values.items():
            yield str(name), f"{value:g}" if isinstance(value, float) else str(value)
