"""What text.py needs to know of a message's fields, looked up once a descriptor and then fast.

Nothing here reads or writes; it works with every protobuf release that sdcaffe supports.
"""

from __future__ import annotations

import functools
from typing import Any

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FieldDescriptorProto

_Type = descriptor_pb2.FieldDescriptorProto

STRING, BYTES, INTEGER, FLOAT, BOOL, ENUM, MESSAGE = range(7)

_KINDS = {
    _Type.TYPE_BOOL: BOOL,
    _Type.TYPE_BYTES: BYTES,
    _Type.TYPE_DOUBLE: FLOAT,
    _Type.TYPE_ENUM: ENUM,
    _Type.TYPE_FLOAT: FLOAT,
    _Type.TYPE_MESSAGE: MESSAGE,
    _Type.TYPE_STRING: STRING,
}
_RANGES = {
    _Type.TYPE_INT32: (-(2**31), 2**31 - 1),
    _Type.TYPE_UINT32: (0, 2**32 - 1),
    _Type.TYPE_FIXED32: (0, 2**32 - 1),
    _Type.TYPE_INT64: (-(2**63), 2**63 - 1),
    _Type.TYPE_UINT64: (0, 2**64 - 1),
    _Type.TYPE_FIXED64: (0, 2**64 - 1),
}


class Field:
    """One field: its kind, whether it repeats, and what its values may be."""

    def __init__(self, proto: FieldDescriptorProto, descriptor: FieldDescriptor) -> None:
        self.name: str = proto.name
        self.number: int = proto.number
        self.repeated: bool = proto.label == _Type.LABEL_REPEATED
        self.required: bool = proto.label == _Type.LABEL_REQUIRED
        self.kind: int = _KINDS.get(proto.type, INTEGER)
        self.double: bool = proto.type == _Type.TYPE_DOUBLE
        self.low, self.high = _RANGES.get(proto.type, (0, 0))
        self.message_type = descriptor.message_type
        self.values: dict[str, int] = {}
        self.value_names: dict[int, str] = {}
        if descriptor.enum_type is not None:
            for value in descriptor.enum_type.values:
                self.values[value.name] = value.number
                self.value_names.setdefault(value.number, value.name)


class Table:
    """The fields of one message: `fields` by name, `required` the names that must be there."""

    def __init__(self, descriptor: Descriptor) -> None:
        proto = _messages(descriptor.file)[descriptor.name]
        self.message: str = descriptor.name
        self.is_layer = self.message in ("LayerParameter", "V1LayerParameter")
        self.fields = {f.name: Field(f, descriptor.fields_by_name[f.name]) for f in proto.field}
        self.required = [field.name for field in self.fields.values() if field.required]


@functools.lru_cache(maxsize=8)
def _messages(file: Any) -> dict[str, Any]:
    """The messages of a descriptor file as they were written; none of them is nested."""
    return {m.name: m for m in descriptor_pb2.FileDescriptorProto.FromString(file.serialized_pb).message_type}


@functools.lru_cache(maxsize=1024)
def table(descriptor: Descriptor) -> Table:
    """The table of a message descriptor. Kept for the messages looked up last."""
    return Table(descriptor)
