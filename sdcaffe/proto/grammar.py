"""Reads the part of the proto2 language that caffe.proto is written in; nothing beyond it.

Messages with scalar, enum and message fields, nested enums, defaults and `packed`. No imports, no
extensions, no oneof, maps, groups or services.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from google.protobuf import descriptor_pb2

Field = descriptor_pb2.FieldDescriptorProto

_TOKEN = re.compile(r'\s+|//[^\n]*|("[^"\n]*"|[-+.\w]+|[{}\[\]=;,])')
_LABELS = {
    "optional": Field.LABEL_OPTIONAL,
    "required": Field.LABEL_REQUIRED,
    "repeated": Field.LABEL_REPEATED,
}
_SCALARS = {
    "bool": Field.TYPE_BOOL,
    "bytes": Field.TYPE_BYTES,
    "double": Field.TYPE_DOUBLE,
    "fixed32": Field.TYPE_FIXED32,
    "fixed64": Field.TYPE_FIXED64,
    "float": Field.TYPE_FLOAT,
    "int32": Field.TYPE_INT32,
    "int64": Field.TYPE_INT64,
    "string": Field.TYPE_STRING,
    "uint32": Field.TYPE_UINT32,
    "uint64": Field.TYPE_UINT64,
}


def read(source: str, filename: str) -> descriptor_pb2.FileDescriptorProto:
    """The descriptor of a .proto file's text. Raises SyntaxError where it is not of the subset."""
    reader = _Reader(source, filename)
    file = descriptor_pb2.FileDescriptorProto(name=filename)
    for word in reader.tokens:
        if word == "syntax":
            reader.expect("=", '"proto2"', ";")
        elif word == "package":
            file.package = reader.next()
            reader.expect(";")
        elif word == "message":
            reader.message(file.message_type.add())
        elif word == "enum":
            reader.enum(file.enum_type.add())
        else:
            raise reader.error(word)
    _resolve(file)
    return file


class _Reader:
    def __init__(self, source: str, filename: str) -> None:
        self.source, self.filename, self.position = source, filename, 0
        self.tokens = self._scan()

    def _scan(self) -> Iterator[str]:
        while self.position < len(self.source):
            match = _TOKEN.match(self.source, self.position)
            if match is None:
                raise self.error(self.source[self.position])
            self.position = match.end()
            if match[1]:
                yield match[1]

    def error(self, found: str) -> SyntaxError:
        line = self.source.count("\n", 0, self.position) + 1
        return SyntaxError(f'{self.filename}:{line}: unexpected "{found}"')

    def next(self) -> str:
        token = next(self.tokens, None)
        if token is None:
            raise self.error("end of file")
        return token

    def expect(self, *wanted: str) -> None:
        for want in wanted:
            found = self.next()
            if found != want:
                raise self.error(found)

    def message(self, message: descriptor_pb2.DescriptorProto) -> None:
        message.name = self.next()
        self.expect("{")
        while (word := self.next()) != "}":
            if word == "enum":
                self.enum(message.enum_type.add())
            elif word in _LABELS:
                self.field(message.field.add(label=_LABELS[word]))
            else:
                raise self.error(word)

    def field(self, field: descriptor_pb2.FieldDescriptorProto) -> None:
        kind = self.next()
        if kind in _SCALARS:
            field.type = _SCALARS[kind]
        else:
            field.type_name = kind
        field.name = self.next()
        self.expect("=")
        field.number = int(self.next())
        if (word := self.next()) == "[":
            option = self.next()
            self.expect("=")
            value = self.next()
            if option == "default":
                field.default_value = ast.literal_eval(value) if value.startswith('"') else value
            elif option == "packed":
                field.options.packed = value == "true"
            else:
                raise self.error(option)
            self.expect("]")
            word = self.next()
        if word != ";":
            raise self.error(word)

    def enum(self, enum: descriptor_pb2.EnumDescriptorProto) -> None:
        enum.name = self.next()
        self.expect("{")
        while (name := self.next()) != "}":
            self.expect("=")
            enum.value.add(name=name, number=int(self.next()))
            self.expect(";")


def _resolve(file: descriptor_pb2.FileDescriptorProto) -> None:
    """Give each field of an enum or a message its full type name: the message's own enums come first."""
    messages = {message.name for message in file.message_type}
    for message in file.message_type:
        own = {enum.name for enum in message.enum_type}
        for field in message.field:
            if not field.type_name:
                continue
            if field.type_name in messages:
                field.type = Field.TYPE_MESSAGE
                scope = file.package
            else:
                field.type = Field.TYPE_ENUM
                scope = f"{file.package}.{message.name}" if field.type_name in own else file.package
            field.type_name = f".{scope}.{field.type_name}"
