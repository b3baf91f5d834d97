"""Caffe's messages and enums under the names of the module that protoc makes: `caffe_pb2.NetParameter()`.

Classes are those of the current schema, which has the fields that plugins declare; nothing is generated.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

from sdcaffe.proto import schema


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    file = _file()
    if name == "DESCRIPTOR":
        return file
    if name in file.enum_types_by_name:
        return EnumTypeWrapper(file.enum_types_by_name[name])
    for enum in file.enum_types_by_name.values():
        if name in enum.values_by_name:
            return enum.values_by_name[name].number
    if name not in file.message_types_by_name:
        raise AttributeError(f'Caffe has no message or enum "{name}"')
    return schema.message(name)


def __dir__() -> list[str]:
    file = _file()
    values = [value for enum in file.enum_types_by_name.values() for value in enum.values_by_name]
    return sorted([*file.message_types_by_name, *file.enum_types_by_name, *values, "DESCRIPTOR"])


def _file() -> Any:
    return schema.message("NetParameter").DESCRIPTOR.file
