"""A class with annotations as the descriptor of a message: how a plugin writes its parameters down.

It makes descriptors only; what becomes of them, and which names and numbers are free, is schema.py's to know.
"""

from __future__ import annotations

import enum
import inspect
import typing
from collections.abc import Callable
from typing import Any

from google.protobuf import descriptor_pb2
from google.protobuf.message import Message as AnyMessage

from sdcaffe.errors import PrototxtError

Field = descriptor_pb2.FieldDescriptorProto
Descriptor = descriptor_pb2.DescriptorProto

# What Python's annotations become. Whole numbers are 64-bit: a seed or a count always fits, and on the wire
# they are what int32, uint32 and enums are.
_PYTHON_TYPES = {
    bool: Field.TYPE_BOOL,
    int: Field.TYPE_INT64,
    float: Field.TYPE_FLOAT,
    str: Field.TYPE_STRING,
}


class Message:
    """Names a Caffe message as the type of a declared field: `weight_filler: Message("FillerParameter")`.

    `weight_filler: proto.FillerParameter` says the same, to tools that check annotations too.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f'Message("{self.name}")'


def owner(params: type) -> str:
    """A class's full name."""
    return f"{params.__module__}.{params.__qualname__}"


def place(params: type) -> str:
    """Where a class is written: `file:line`, or its module. For errors: it reads the whole file."""
    try:
        return f"{inspect.getsourcefile(params)}:{inspect.getsourcelines(params)[1]}"
    except (OSError, TypeError):
        return params.__module__


def describe(params: type, name: str) -> list[Descriptor]:
    """The message `name` of a class's annotations, and behind it those of the classes it names as field types.

    Raises PrototxtError, with the place of the class, for an annotation or a default that cannot be a field's.
    """
    found: dict[type, Descriptor] = {}
    _describe(params, name, found)
    return list(found.values())


def _describe(params: type, name: str, found: dict[type, Descriptor]) -> None:
    try:
        annotations = typing.get_type_hints(params, localns=dict(vars(params)), include_extras=True)
    except NameError as error:
        raise PrototxtError(
            f"an annotation of {params.__qualname__} cannot be read ({error}); write the types it names "
            "at the top level of the module or inside the class",
            place(params),
        ) from None
    message = found[params] = Descriptor(name=name)
    for field_name, annotation in annotations.items():
        if not field_name.startswith("_"):
            _add_field(message, params, field_name, annotation, found)


def _add_field(message: Descriptor, params: type, name: str, annotation: Any, found: dict[type, Descriptor]) -> None:
    default = getattr(params, name, None)
    number = message.field[-1].number + 1 if message.field else 1
    if typing.get_origin(annotation) is typing.Annotated:
        annotation, *notes = typing.get_args(annotation)
        number = next((note for note in notes if type(note) is int), number)
    if number in [field.number for field in message.field]:
        raise PrototxtError(f"{params.__qualname__}.{name} has the number {number} of another field", place(params))
    repeated = typing.get_origin(annotation) is list
    item = typing.get_args(annotation)[0] if repeated else annotation
    if isinstance(default, Message):
        item, default = default, None
    elif isinstance(item, type) and issubclass(item, AnyMessage):
        item = Message(item.DESCRIPTOR.name)
    field = message.field.add(name=name, number=number, label=Field.LABEL_OPTIONAL)
    if repeated:
        field.label = Field.LABEL_REPEATED
    if isinstance(item, Message):
        field.type = Field.TYPE_MESSAGE
        field.type_name = f".caffe.{item.name}"
    elif item in _PYTHON_TYPES:
        field.type = _PYTHON_TYPES[item]
    elif isinstance(item, type) and issubclass(item, enum.Enum) and _are_int32(item):
        field.type = Field.TYPE_ENUM
        field.type_name = item.__name__
        if item.__name__ not in [e.name for e in message.enum_type]:
            values = message.enum_type.add(name=item.__name__).value
            for member in item:
                values.add(name=member.name, number=member.value)
    elif isinstance(item, type) and not issubclass(item, enum.Enum) and inspect.get_annotations(item):
        field.type = Field.TYPE_MESSAGE
        field.type_name = f".caffe.{item.__name__}"
        if item not in found:
            _describe(item, item.__name__, found)
    else:
        raise PrototxtError(
            f"{params.__qualname__}.{name} is annotated {item!r}; a field can be bool, int, float, str, an "
            'enum.Enum of whole numbers, a class with annotated attributes, Message("...") or a list of one of these',
            place(params),
        )
    if default is not None and not (repeated and not default):
        field.default_value = _default(params, name, field, item, default)


def _are_int32(values: type[enum.Enum]) -> bool:
    return all(type(member.value) is int and -(2**31) <= member.value < 2**31 for member in values)


def _default(params: type, name: str, field: Any, item: Any, default: Any) -> str:
    write: dict[Any, Callable[[Any], str]] = {bool: lambda value: str(value).lower(), int: str, float: repr, str: str}
    if field.label != Field.LABEL_REPEATED:
        if field.type == Field.TYPE_ENUM and isinstance(default, item):
            return str(default.name)
        if item is float and type(default) is int:
            default = float(default)
        if item in write and type(default) is item:
            return write[item](default)
    raise PrototxtError(f"{params.__qualname__}.{name} cannot have the default {default!r}", place(params))
