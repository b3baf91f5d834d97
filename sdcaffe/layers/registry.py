"""Which class makes the layers of a type. Where classes are found is the package's business."""

from __future__ import annotations

from collections.abc import Callable

from sdcaffe import proto
from sdcaffe.errors import LayerError, nearest
from sdcaffe.layers.layer import Layer

Claim = Callable[["proto.LayerParameter"], bool]  # whether a LayerParameter is written in a dialect

_registry: dict[str, type[Layer]] = {}
_dialects: dict[str, dict[type[Layer], Claim]] = {}


def register(
    type_name: str, *, field: str | None = None, number: int | None = None, when: Claim | None = None
) -> Callable[[type[Layer]], type[Layer]]:
    """Make a Layer class known under its prototxt type.

    `field` names the LayerParameter field that holds the type's parameters (None: it has none). For a
    field that Caffe lacks, `number` is its field number (1000 or above; the fork's own for a layer of a fork
    of Caffe) and the class holds a class `Param` whose annotated attributes are its fields; see
    `proto.schema.declare`. With `when`, the class is a dialect of a type that has one: it makes the layers
    for which `when(layer_param)` is true.
    """

    def add(cls: type[Layer]) -> type[Layer]:
        if not (isinstance(cls, type) and issubclass(cls, Layer)):
            raise LayerError(f'layer type "{type_name}": {cls!r} is not a subclass of sdcaffe.Layer')
        known = _registry.get(type_name)
        if when is not None:
            if known is None or known.yields or not cls.yields:
                cls.type, cls.field = type_name, field
                _dialects.setdefault(type_name, {})[cls] = when
            return cls
        if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            if cls.yields:
                return cls
            if not known.yields:
                raise LayerError(f'layer type "{type_name}" is already registered by {known.__module__}')
            if known.field is not None:
                proto.schema.retract(known.field)
            _dialects.pop(type_name, None)
        if number is not None:
            if field is None or not hasattr(cls, "Param"):
                raise LayerError(f'layer type "{type_name}": a field number needs a field name and a class Param')
            proto.schema.declare(field, number, cls.Param)
        cls.type, cls.field = type_name, field
        _registry[type_name] = cls
        return cls

    return add


def makers(type_name: str) -> list[type[Layer]]:
    """The classes that make layers of a type: its own, then its dialects'."""
    return [_registry[type_name], *_dialects.get(type_name, ())]


def registered() -> dict[str, type[Layer]]:
    """Every known layer type, sorted by name."""
    return dict(sorted(_registry.items()))


def class_of(layer_param: proto.LayerParameter) -> type[Layer]:
    """The class that makes a layer: its type's, or the last dialect that claims it. Raises LayerError."""
    for cls, claims in reversed(_dialects.get(layer_param.type, {}).items()):
        if claims(layer_param):
            return cls
    return layer_class(layer_param.type, layer_param.name)


def layer_class(type_name: str, layer_name: str = "") -> type[Layer]:
    """The class of a prototxt layer type. Raises LayerError, with the fork that has it or the nearest known type."""
    try:
        return _registry[type_name]
    except KeyError:
        pass
    message = f'unknown layer type "{type_name}" in layer "{layer_name}"'
    fork, near = proto.elsewhere.of_type(type_name), nearest(type_name, _registry)
    if fork is not None:
        message += f". It is not one of BVLC Caffe's, but {fork} has it: "
    elif near is not None:
        message += f'. Did you mean "{near}"? If another Caffe has it: '
    else:
        message += ". It is not one of BVLC Caffe's: "
    message += "write it as a plugin and name its file with --plugin; docs/own-layer.md shows how"
    raise LayerError(message, layer=layer_name, field="type")
