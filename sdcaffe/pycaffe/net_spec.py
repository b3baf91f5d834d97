"""Nets written in Python: `layers.Convolution(bottom, num_output=8)`, `NetSpec`, `to_proto`. Builds messages only."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message

from sdcaffe import proto
from sdcaffe.layers.base import registered
from sdcaffe.pycaffe.errors import NoBlob, NoTop, UnknownField, WrongType, WrongValue
from sdcaffe.pycaffe.proto import caffe_pb2


class Top:
    """Blob number `n` of those that the layer `fn` makes."""

    def __init__(self, fn: Function, n: int) -> None:
        self.fn = fn
        self.n = n

    def to_proto(self) -> proto.NetParameter:
        """A NetParameter of all layers that this blob needs."""
        return to_proto(self)

    def _update(self, params: dict[str, Any]) -> None:
        self.fn.params.update(params)


class Function:
    """A layer: its type, the Tops it reads, and the fields given to it.

    Of the fields `ntop` (how many blobs it makes, 1 by default) and `in_place` are about the layer. The
    others belong to the parameter message of its type where that has them, else to the layer.
    Raises TypeError for an input that is no Top.
    """

    def __init__(self, type_name: str, inputs: tuple[Top, ...], params: dict[str, Any]) -> None:
        for i, top in enumerate(inputs):
            if not isinstance(top, Top):
                raise TypeError(f"{type_name} input {i} is not a Top (type is {type(top)})")
        self.type_name = type_name
        self.inputs: tuple[Top, ...] = inputs
        self.params = dict(params)
        self.ntop: int = self.params.pop("ntop", 1)
        self.in_place: bool = self.params.pop("in_place", False)
        self.tops = tuple(Top(self, n) for n in range(self.ntop))

    def fields(self) -> proto.LayerParameter:
        """A LayerParameter of the layer's type and the fields given to it, without a name, bottoms and tops."""
        layer = caffe_pb2.LayerParameter(type=self.type_name)
        own = _own_field(self.type_name)
        for key, value in self.params.items():
            if not key.endswith("param") and own and key in getattr(layer, own).DESCRIPTOR.fields_by_name:
                assign_proto(getattr(layer, own), key, value)
            else:
                assign_proto(layer, key, value)
        return layer


class _Writer:
    """Makes the layers of Tops, each after those it reads; blobs without a name get one of their type."""

    def __init__(self, names: dict[Top | Function, str]) -> None:
        self._names = names
        self._counts: Counter[str] = Counter()
        self._layers: OrderedDict[Function, Any] = OrderedDict()

    def add(self, fn: Function) -> None:
        waiting = [(fn, iter(fn.inputs))]  # no recursion: nets are deep
        while waiting:
            current, inputs = waiting[-1]
            missing = next((top.fn for top in inputs if top.fn not in self._layers), None)
            if missing is not None and current not in self._layers:
                waiting.append((missing, iter(missing.inputs)))
                continue
            waiting.pop()
            if current not in self._layers:
                self._layers[current] = self._layer(current)

    def net(self) -> proto.NetParameter:
        net = caffe_pb2.NetParameter()
        net.layer.extend(self._layers.values())
        return net

    def _layer(self, fn: Function) -> proto.LayerParameter:
        layer = caffe_pb2.LayerParameter()
        layer.bottom.extend(self._layers[top.fn].top[top.n] for top in fn.inputs)
        layer.top.extend(list(layer.bottom) if fn.in_place else [self._name(top, fn) for top in fn.tops])
        layer.name = self._name(fn.tops[0] if fn.tops else fn, fn)
        layer.MergeFrom(fn.fields())
        return layer

    def _name(self, named: Top | Function, fn: Function) -> str:
        if named not in self._names:
            self._counts[fn.type_name] += 1
            self._names[named] = f"{fn.type_name}{self._counts[fn.type_name]}"
        return self._names[named]


def _own_field(type_name: str) -> str | None:
    """The parameter field of a layer type: that of its message's name, else what the type is registered with."""
    stem = param_name_dict().get(type_name)
    if stem is not None:
        return f"{stem}_param"
    known = registered().get(type_name)
    return known.field if known else None


def param_name_dict() -> dict[str, str]:
    """Message type -> field of LayerParameter, both without their endings: "InnerProduct" -> "inner_product"."""
    fields = [f for f in caffe_pb2.LayerParameter.DESCRIPTOR.fields if f.name.endswith("_param")]
    return {
        f.message_type.name.removesuffix("Parameter"): f.name.removesuffix("_param") for f in fields if f.message_type
    }


def assign_proto(message: Message, name: str, value: object) -> None:
    """Set a field: dicts are messages, lists repeated; one value alone is a list where the field is repeated.

    Raises UnknownField, an AttributeError, for a field that the message lacks; WrongType or WrongValue, a TypeError
    or a ValueError, for what it cannot take.
    """
    field = message.DESCRIPTOR.fields_by_name.get(name)
    if field is None:
        raise UnknownField(f'{message.DESCRIPTOR.name} has no field "{name}"')
    target = getattr(message, name)
    try:
        if hasattr(target, "extend"):
            values = list(value) if isinstance(value, (list, tuple)) else [value]
            for item in values:
                if isinstance(item, dict):
                    _assign_all(target.add(), item)
                else:
                    target.append(item)
        elif isinstance(value, dict):
            target.SetInParent()
            _assign_all(target, value)
        elif field.message_type is not None:
            target.CopyFrom(value)
        else:
            setattr(message, name, value)
    except (UnknownField, WrongType, WrongValue):  # of a message inside
        raise
    except (TypeError, ValueError, AttributeError) as error:
        kind = WrongValue if isinstance(error, ValueError) else WrongType
        raise kind(f'{message.DESCRIPTOR.name}: "{name}" cannot be {value!r}: {error}') from None


def _assign_all(message: Any, values: dict[str, Any]) -> None:
    for name, value in values.items():
        assign_proto(message, name, value)


def to_proto(*tops: Top) -> proto.NetParameter:
    """A NetParameter of all layers that these blobs need; names are made up."""
    writer = _Writer({})
    for top in tops:
        writer.add(top.fn)
    return writer.net()


class NetSpec:
    """Blobs by name: `n.conv1 = layers.Convolution(n.data, ...)`; a layer has the name of its first blob."""

    tops: OrderedDict[str, Any]

    def __init__(self) -> None:
        super().__setattr__("tops", OrderedDict())

    def __setattr__(self, name: str, value: Any) -> None:
        self.tops[name] = value

    def __getattr__(self, name: str) -> Any:
        try:
            return self.tops[name]
        except KeyError:
            raise NoBlob(f'this NetSpec has no blob "{name}"') from None

    def __setitem__(self, name: str, value: Any) -> None:
        self.tops[name] = value

    def __getitem__(self, name: str) -> Any:
        return self.tops[name]

    def __delitem__(self, name: str) -> None:
        del self.tops[name]

    def __contains__(self, name: str) -> bool:
        return name in self.tops

    def keys(self) -> list[str]:
        return list(self.tops)

    def vals(self) -> list[Any]:
        return list(self.tops.values())

    def update(self, name: str, params: dict[str, Any]) -> None:
        """Give the layer of a blob more fields."""
        self.tops[name]._update(params)

    def to_proto(self) -> proto.NetParameter:
        """A NetParameter of all layers that the named blobs need. Raises NoTop where a name is of no blob."""
        for name, top in self.tops.items():
            if not isinstance(top, (Top, Function)):
                raise NoTop(f'"{name}" is no Top but of {type(top)}; a layer of several tops gives a tuple of them')
        writer = _Writer({top: name for name, top in self.tops.items()})
        for top in self.tops.values():
            writer.add(top if isinstance(top, Function) else top.fn)
        return writer.net()


class Layers:
    """`layers.TYPE(*bottoms, **fields)`: a Top, a tuple of `ntop` Tops, or the Function where `ntop` is 0."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)

        def make(*inputs: Any, **params: Any) -> Any:
            fn = Function(name, inputs, params)
            return {0: fn, 1: fn.tops[0] if fn.tops else None}.get(fn.ntop, fn.tops)

        return make


class _Values:
    """The values that the enums of one parameter message have."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, value: str) -> int:
        return int(getattr(getattr(caffe_pb2, f"{self._name}Parameter"), value))


class Parameters:
    """`params.Pooling.MAX`: a value of an enum of PoolingParameter."""

    def __getattr__(self, name: str) -> _Values:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Values(name)


layers = Layers()
params = Parameters()
