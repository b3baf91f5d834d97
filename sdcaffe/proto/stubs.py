"""Writes caffe.pyi, what type checkers know of Caffe's messages: `python -m sdcaffe.proto.stubs MODULE...`.

The modules are imported first, for the fields that their plugins declare. It reads the schema and does not change it.
"""

from __future__ import annotations

import importlib
import keyword
import sys
from collections.abc import Iterator
from pathlib import Path

from google.protobuf import descriptor_pb2

from sdcaffe.proto import caffe
from sdcaffe.proto.files import atomic_write

PATH = Path(__file__).with_name("caffe.pyi")

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    _Field.TYPE_BOOL: "bool",
    _Field.TYPE_BYTES: "bytes",
    _Field.TYPE_DOUBLE: "float",
    _Field.TYPE_FLOAT: "float",
    _Field.TYPE_STRING: "str",
}
_HEAD = '''\
"""Caffe's messages, their fields and enums. Written by `make stubs` from caffe.proto and the plugins of sdcaffe."""

from collections.abc import Iterable as _Iterable
from collections.abc import Mapping as _Mapping
from typing import Any as _Any
from typing import ClassVar as _ClassVar

from google.protobuf.descriptor import FileDescriptor as _FileDescriptor
from google.protobuf.internal.containers import RepeatedCompositeFieldContainer as _Messages
from google.protobuf.internal.containers import RepeatedScalarFieldContainer as _Values
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper as _Enum
from google.protobuf.message import Message as _Message

DESCRIPTOR: _FileDescriptor
'''


def text() -> str:
    """The stub of the schema as it is now."""
    file = descriptor_pb2.FileDescriptorProto.FromString(caffe.DESCRIPTOR.serialized_pb)
    lines = [_HEAD]
    for enum in file.enum_type:
        lines += [f"{enum.name}: _Enum\n", *(f"{value.name}: int\n" for value in enum.value)]
    for message in sorted(file.message_type, key=lambda message: message.name):
        lines += ["\n", *_class(message)]
    return "".join(lines)


def _class(message: descriptor_pb2.DescriptorProto) -> Iterator[str]:
    yield f"class {message.name}(_Message):\n"
    for enum in message.enum_type:
        yield f"    {enum.name}: _ClassVar[_Enum]\n"
        yield from (f"    {value.name}: _ClassVar[int]\n" for value in enum.value)
    fields = sorted((f for f in message.field if not keyword.iskeyword(f.name)), key=lambda field: field.number)
    for field in fields:
        kind = _kind(field)
        if field.label == _Field.LABEL_REPEATED:
            kind = f"_Messages[{kind}]" if field.type == _Field.TYPE_MESSAGE else f"_Values[{kind}]"
        elif field.type != _Field.TYPE_MESSAGE:
            yield f"    {field.name}: {kind}\n"
            continue
        yield f"    @property\n    def {field.name}(self) -> {kind}: ...\n"
    yield "    def __init__(\n        self,\n"
    if fields:
        yield "        *,\n"
    for field in fields:
        yield f"        {field.name}: {_accepted(field)} | None = ...,\n"
    yield "    ) -> None: ...\n"


def _kind(field: descriptor_pb2.FieldDescriptorProto) -> str:
    """The Python type of one value of a field; the number of an enum's value is an int, as whole numbers are."""
    if field.type == _Field.TYPE_MESSAGE:
        return field.type_name.removeprefix(".caffe.")
    return _SCALARS.get(field.type, "int")


def _accepted(field: descriptor_pb2.FieldDescriptorProto) -> str:
    """The type of a field's argument: a message may be given as a mapping, the value of an enum by its name."""
    kind = _kind(field)
    if field.type == _Field.TYPE_MESSAGE:
        kind += " | _Mapping[str, _Any]"
    elif field.type == _Field.TYPE_ENUM:
        kind += " | str"
    return f"_Iterable[{kind}]" if field.label == _Field.LABEL_REPEATED else kind


if __name__ == "__main__":
    for module in sys.argv[1:]:
        importlib.import_module(module)
    with atomic_write(PATH) as stub:
        stub.write(text().encode())
