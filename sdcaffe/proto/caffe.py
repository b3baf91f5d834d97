"""Caffe's messages and enums by name, as in the module that protoc makes: `caffe.NetParameter()`, `caffe.TRAIN`.

Nothing is generated but the types in caffe.pyi. A name is looked up in the schema each time it is used: when a plugin
declares a field, every message gets a new class. So keep messages, not classes; `sdcaffe.proto.copied` brings a message
of an older class along.
"""

from __future__ import annotations

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

from sdcaffe import hooks
from sdcaffe.proto import schema


def __getattr__(name: str) -> object:
    if name.startswith("__"):
        raise AttributeError(name)
    found = _named(name)
    if found is None and name[:1].isupper():
        for bring in hooks.before_unknown_names:
            bring()
        found = _named(name)
    if found is None:
        raise AttributeError(f'Caffe has no message or enum "{name}"')
    return found


def _named(name: str) -> object:
    """The message class, enum or number of that name; None where no file or plugin loaded so far has it."""
    file = schema.file()
    if name in file.message_types_by_name:
        return schema.message(name)
    if name == "DESCRIPTOR":
        return file
    if name in file.enum_types_by_name:
        return EnumTypeWrapper(file.enum_types_by_name[name])
    for enum in file.enum_types_by_name.values():
        if name in enum.values_by_name:
            return enum.values_by_name[name].number
    return None


def __dir__() -> list[str]:
    file = schema.file()
    values = [value for enum in file.enum_types_by_name.values() for value in enum.values_by_name]
    return sorted([*file.message_types_by_name, *file.enum_types_by_name, *values, "DESCRIPTOR"])
