"""The message classes: caffe.proto plus the fields that plugins declare, in a private descriptor pool.

It knows what messages exist; reading and writing them is the work of text.py, files.py and weights.py.
No protoc and no generated code: the descriptors are built when first asked for, and again after a
plugin declared a field, so look a class up each time it is needed.
"""

from __future__ import annotations

import enum
import inspect
import itertools
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from sdcaffe.errors import PrototxtError
from sdcaffe.proto import grammar

Field = descriptor_pb2.FieldDescriptorProto

# What Python's annotations become. Whole numbers are 64-bit: a seed or a count always fits.
_PYTHON_TYPES = {
    bool: Field.TYPE_BOOL,
    int: Field.TYPE_INT64,
    float: Field.TYPE_FLOAT,
    str: Field.TYPE_STRING,
}


class Message:
    """Names a Caffe message as the type of a declared field: `weight_filler: Message("FillerParameter")`.

    `weight_filler: Any = Message("FillerParameter")` says the same to tools that check annotations.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f'Message("{self.name}")'


class _Declaration(typing.NamedTuple):
    field: str
    number: int
    owner: str
    message: descriptor_pb2.DescriptorProto


_declared: dict[str, _Declaration] = {}
_pools: dict[bool, descriptor_pool.DescriptorPool] = {}
_sources: list[descriptor_pb2.FileDescriptorProto] = []
_files = itertools.count()


def message(name: str) -> Any:
    """The class of a message of the current schema: `message("NetParameter")`, nested ones with a dot.

    Raises AttributeError where the schema has no such message.
    """
    return _message(name, pool())


def _message(name: str, owner: descriptor_pool.DescriptorPool) -> Any:
    try:
        return message_factory.GetMessageClass(owner.FindMessageTypeByName(f"caffe.{name}"))
    except KeyError:
        raise AttributeError(f'Caffe has no message "{name}"') from None


def enum_value(enum_name: str, value_name: str) -> int:
    """The number of an enum's value: `enum_value("PoolingParameter.PoolMethod", "AVE")` is 1.

    Raises AttributeError where there is no such enum or value.
    """
    try:
        return pool().FindEnumTypeByName(f"caffe.{enum_name}").values_by_name[value_name].number
    except KeyError:
        raise AttributeError(f'Caffe has no value "{value_name}" of an enum "{enum_name}"') from None


def current(old: Any) -> Any:
    """The same message in the current schema: itself, or a copy through bytes if its class is older."""
    if old.DESCRIPTOR.file.pool is pool():
        return old
    name = old.DESCRIPTOR.full_name.removeprefix("caffe.")
    return message(name).FromString(old.SerializePartialToString())


def pool() -> descriptor_pool.DescriptorPool:
    """The descriptors of the current schema. A new object after each declaration."""
    return _assembled(raw=False)


def raw_message(name: str) -> Any:
    """A message class of a twin schema, the same on the wire, where a blob's numbers are bytes.

    There `BlobProto.data`, `diff`, `double_data` and `double_diff` are `repeated bytes`: the packed
    little-endian numbers as they stand in the file, in one piece or several, for numpy to read at once.
    It also has NVIDIA Caffe's `raw_data_type` and `raw_data`, where that keeps 16-bit weights.
    """
    return _message(name, _assembled(raw=True))


def declare(field: str, number: int, params: type) -> None:
    """Add the field `field` to LayerParameter, of a new message made from `params`' annotations.

    Each annotated attribute of `params` becomes a field, numbered from 1 in the order written: `bool`,
    `int` (64-bit), `float` (32-bit), `str`, an `enum.Enum` with whole numbers as values (its names are
    the names in a prototxt), `Message("FillerParameter")`, or `list[...]` of one of these. The value of
    the class attribute is the default. Names that start with "_" are left out.

    The same declaration twice is fine. Raises PrototxtError where the name or the number is taken,
    naming both sides, and where an annotation cannot be a field.
    """
    where, owner = _whereabouts(params)
    declaration = _Declaration(field, number, owner, _described(field, params, where))
    known = _declared.get(field)
    if known is not None and (known.number, known.message) == (number, declaration.message):
        return
    for name, taken, by in _taken():
        if name == field:
            raise PrototxtError(f'{owner} declares the field "{field}", which {by} has already', where)
        if taken == number:
            raise PrototxtError(
                f'{owner} declares the field "{field}" with number {number}, which {by} uses for "{name}"; '
                "give one of them another number",
                where,
            )
    if not 1000 <= number < 2**29 or 19000 <= number < 20000:
        raise PrototxtError(
            f'{owner} declares the field "{field}" with number {number}; numbers of plugins are 1000 to '
            "536870911, without 19000 to 19999",
            where,
        )
    flaw = _flaw(declaration.message)
    _declared[field] = declaration
    try:
        if flaw is None:
            _build(raw=False)
    except (TypeError, ValueError) as error:
        flaw = str(error)
    if flaw is not None:
        del _declared[field]
        raise PrototxtError(f'{owner} cannot be the message of "{field}": {flaw}', where)
    _pools.clear()


def _flaw(declared: descriptor_pb2.DescriptorProto) -> str | None:
    """What the schema has against one more message; None: nothing. Not every protobuf says so itself."""
    known = [message.name for message in _source().message_type] + [d.message.name for d in _declared.values()]
    if declared.name in known:
        return f'there is a message "{declared.name}" already; give the field another name'
    for field in declared.field:
        name = field.type_name.rpartition(".")[2]
        if field.type == Field.TYPE_MESSAGE and name not in known:
            return f'"{field.name}" is of the message "{name}", which Caffe does not have'
    values = [value.name for enum_type in declared.enum_type for value in enum_type.value]
    twice = [name for name in values if values.count(name) > 1]
    if twice:
        return f'two of its enums have the value "{twice[0]}"; within one message their names must differ'
    return None


def _taken() -> list[tuple[str, int, str]]:
    """Every field of LayerParameter: its name, its number, who it belongs to."""
    layer = next(m for m in _source().message_type if m.name == "LayerParameter")
    fields = [(f.name, f.number, "BVLC Caffe") for f in layer.field]
    return fields + [(d.field, d.number, d.owner) for d in _declared.values()]


def _source() -> descriptor_pb2.FileDescriptorProto:
    if not _sources:
        path = Path(__file__).with_name("caffe.proto")
        _sources.append(grammar.read(path.read_text(encoding="utf-8"), path.name))
    return _sources[0]


def _assembled(raw: bool) -> descriptor_pool.DescriptorPool:
    if raw not in _pools:
        _pools[raw] = _build(raw)
    return _pools[raw]


def _build(raw: bool) -> descriptor_pool.DescriptorPool:
    file = descriptor_pb2.FileDescriptorProto()
    file.CopyFrom(_source())
    file.name = f"sdcaffe/{next(_files)}.proto"
    messages = {message.name: message for message in file.message_type}
    for declaration in _declared.values():
        file.message_type.append(declaration.message)
        messages["LayerParameter"].field.add(
            name=declaration.field,
            number=declaration.number,
            label=Field.LABEL_OPTIONAL,
            type=Field.TYPE_MESSAGE,
            type_name=f".caffe.{declaration.message.name}",
        )
    if raw:
        for field in messages["BlobProto"].field:
            if field.options.packed:
                field.type = Field.TYPE_BYTES
                field.ClearField("options")
        add = messages["BlobProto"].field.add
        add(name="raw_data_type", number=10, label=Field.LABEL_OPTIONAL, type=Field.TYPE_INT32)
        add(name="raw_data", number=12, label=Field.LABEL_OPTIONAL, type=Field.TYPE_BYTES)
    result = descriptor_pool.DescriptorPool()
    result.AddSerializedFile(file.SerializeToString())
    result.FindFileByName(file.name)
    return result


# ---- A class with annotations as a message ----


def _whereabouts(params: type) -> tuple[str, str]:
    """Where a class is written (`file:line`, or its module) and its full name."""
    owner = f"{params.__module__}.{params.__qualname__}"
    try:
        return f"{inspect.getsourcefile(params)}:{inspect.getsourcelines(params)[1]}", owner
    except (OSError, TypeError):
        return params.__module__, owner


def _described(field: str, params: type, where: str) -> descriptor_pb2.DescriptorProto:
    try:
        annotations = typing.get_type_hints(params, localns=dict(vars(params)))
    except NameError as error:
        raise PrototxtError(
            f"an annotation of {params.__qualname__} cannot be read ({error}); write the types it names "
            "at the top level of the module or inside the class",
            where,
        ) from None
    camel = "".join(part[:1].upper() + part[1:] for part in field.split("_"))
    result = descriptor_pb2.DescriptorProto(name=camel.removesuffix("Param") + "Parameter")
    for name, annotation in annotations.items():
        if not name.startswith("_"):
            _add_field(result, params, name, annotation, where)
    return result


def _add_field(result: descriptor_pb2.DescriptorProto, params: type, name: str, annotation: Any, where: str) -> None:
    default = getattr(params, name, None)
    repeated = typing.get_origin(annotation) is list
    item = typing.get_args(annotation)[0] if repeated else annotation
    if isinstance(default, Message):
        item, default = default, None
    field = result.field.add(name=name, number=len(result.field) + 1, label=Field.LABEL_OPTIONAL)
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
        if item.__name__ not in [e.name for e in result.enum_type]:
            values = result.enum_type.add(name=item.__name__).value
            for member in item:
                values.add(name=member.name, number=member.value)
    else:
        raise PrototxtError(
            f"{params.__qualname__}.{name} is annotated {item!r}; a field can be bool, int, float, str, an "
            'enum.Enum of whole numbers, Message("...") or a list of one of these',
            where,
        )
    if default is not None and not (repeated and not default):
        field.default_value = _default(params, name, field, item, default, where)


def _are_int32(values: type[enum.Enum]) -> bool:
    return all(type(member.value) is int and -(2**31) <= member.value < 2**31 for member in values)


def _default(params: type, name: str, field: Any, item: Any, default: Any, where: str) -> str:
    write: dict[Any, Callable[[Any], str]] = {bool: lambda value: str(value).lower(), int: str, float: repr, str: str}
    if field.label != Field.LABEL_REPEATED:
        if field.type == Field.TYPE_ENUM and isinstance(default, item):
            return str(default.name)
        if item is float and type(default) is int:
            default = float(default)
        if item in write and type(default) is item:
            return write[item](default)
    raise PrototxtError(f"{params.__qualname__}.{name} cannot have the default {default!r}", where)
