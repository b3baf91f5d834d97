"""The message classes: caffe.proto plus the fields that plugins declare, in a private descriptor pool.

It knows what messages exist; reading and writing them is the work of text.py, files.py and weights.py.
No protoc and no generated code: the descriptors are built when first asked for, and again after a
plugin declared a field, so look a class up each time it is needed. Its names are those of caffe.py.
"""

from __future__ import annotations

import itertools
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.message import Message as AnyMessage

from sdcaffe.errors import PrototxtError
from sdcaffe.proto import described, grammar
from sdcaffe.proto.described import Message as Message

Field = descriptor_pb2.FieldDescriptorProto
M = TypeVar("M", bound=AnyMessage)
P = TypeVar("P")


class _Declaration(typing.NamedTuple):
    """One field that a plugin adds to the message `parent`, and the messages and enums it brings along.

    Without a parent it is the messages alone, and the field no more than their first one's name.
    """

    parent: str
    field: descriptor_pb2.FieldDescriptorProto
    owner: str
    messages: list[descriptor_pb2.DescriptorProto]
    enums: list[descriptor_pb2.EnumDescriptorProto]


class _Home(typing.NamedTuple):
    """Where the attributes of a plugin's class are fields: in `message` itself, or in that of its one field."""

    message: str
    fields: tuple[str, ...]
    inside: bool


_declared: dict[tuple[str, str], _Declaration] = {}
_values: dict[tuple[str, str], dict[str, int]] = {}  # (message, enum) -> the values that plugins add
_homes: dict[type, set[_Home]] = {}
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
        found = message_factory.GetMessageClass(owner.FindMessageTypeByName(f"caffe.{name}"))
    except KeyError:
        raise AttributeError(f'Caffe has no message "{name}"') from None
    found.__module__ = "sdcaffe.proto"  # where pickle finds it; protobuf says whatever module first met the class
    return found


def copied(original: M) -> M:
    """A copy of a message, in the class that it has now: with the fields of plugins loaded since it was made.

    What the copy's class does not know is kept, as in any protobuf message.
    """
    copy: M = message(original.DESCRIPTOR.name).FromString(original.SerializePartialToString())
    return copy


def file() -> FileDescriptor:
    """The descriptor of all messages and enums, with the fields declared so far."""
    descriptor: FileDescriptor = message("NetParameter").DESCRIPTOR.file
    return descriptor


def pool() -> descriptor_pool.DescriptorPool:
    """The descriptors of the current schema. A new object after each declaration."""
    return _assembled(raw=False)


def raw_message(name: str) -> Any:
    """A message class of a twin schema, the same on the wire, where a blob's numbers are bytes.

    There `BlobProto.data`, `diff`, `double_data` and `double_diff` are `repeated bytes`: the packed
    little-endian numbers as they stand in the file, in one piece or several, for numpy to read at once.
    It also has NVIDIA Caffe's `raw_data_type` and `raw_data`, where that keeps 16-bit weights. A layer has
    no parameter messages there: their bytes are kept and written, but not read, as each fork of Caffe has
    given their numbers to messages of its own.
    """
    return _message(name, _assembled(raw=True))


def declare(field: str, number: int, params: type) -> None:
    """Add the field `field` to LayerParameter, of a new message made from `params`' annotations.

    Each annotated attribute of `params` becomes a field: `bool`, `int` (64-bit), `float` (32-bit), `str`, an
    `enum.Enum` with whole numbers as values (its names are the names in a prototxt), another class with
    annotations, a message as `proto.FillerParameter`, or `list[...]` of one of these. Fields are numbered from 1 in
    the order written; `Annotated[int, 7]` gives one the number 7. The value of the class attribute is the
    default. Names that start with "_" are left out. The message has the class's name, or, where that is
    Param, the field's: `focal_loss_param` is a FocalLossParameter.

    A field of one's own has a number from 1000 on; a layer of a fork of Caffe keeps the fork's, which any
    is that BVLC Caffe does not use. The same declaration twice is fine. Raises PrototxtError where the name
    or the number is taken, naming both sides, and where an annotation cannot be a field.
    """
    name = params.__name__
    if name == "Param":
        camel = "".join(part[:1].upper() + part[1:] for part in field.split("_"))
        name = camel.removesuffix("Param") + "Parameter"
    messages = described.describe(params, name)
    added = Field(name=field, number=number, label=Field.LABEL_OPTIONAL, type=Field.TYPE_MESSAGE)
    added.type_name = f".caffe.{name}"
    _declare(params, "LayerParameter", [_Declaration("LayerParameter", added, "", messages, [])])
    _homes.setdefault(params, set()).add(_Home("LayerParameter", (field,), inside=True))


def extend(message: str, params: type) -> None:
    """Add `params`' annotated attributes to Caffe's message `message`: fields that a fork's version of it has.

    Written as for `declare`, each with a number that Caffe does not use in that message. Raises
    PrototxtError likewise.
    """
    own, *messages = described.describe(params, params.__name__)
    fields = [_Declaration(message, f, "", messages, list(own.enum_type)) for f in own.field]
    _declare(params, message, fields)
    _homes.setdefault(params, set()).add(_Home(message, tuple(f.name for f in own.field), inside=False))


def add_values(message: str, enum: str, values: Mapping[str, int]) -> None:
    """Add values, name -> number, to the enum `enum` of the message `message`: those that a fork's version of it has.

    Two names may have one number; what is written then has the first. The same values twice are fine. Raises
    PrototxtError where there is no such enum, and where it has one of the names with another number.
    """
    before = dict(_values)
    _values[message, enum] = {**_values.get((message, enum), {}), **values}
    try:
        known = _build(raw=False).FindEnumTypeByName(f"caffe.{message}.{enum}").values_by_name
        flaw = next((name for name, number in values.items() if known[name].number != number), None)
    except (KeyError, TypeError, ValueError) as error:
        flaw = str(error)
    if flaw is not None:
        _values.clear()
        _values.update(before)
        raise PrototxtError(f"the enum {enum} of {message} cannot have the values {', '.join(values)}: {flaw}")
    _pools.pop(False, None)


def add(params: type) -> None:
    """Add the message of `params`' annotations, of the class's name: one that stands in files, in no field of Caffe's.

    Written as for `declare`. Raises PrototxtError where there is another message of its name, or of one it brings.
    """
    messages = described.describe(params, params.__name__)
    _declare(params, "", [_Declaration("", Field(name=params.__name__), "", messages, [])])


def retract(field: str) -> None:
    """Take back the declaration of a field of LayerParameter, if there is one."""
    if _declared.pop(("LayerParameter", field), None) is not None:
        _pools.pop(False, None)
    for homes in _homes.values():
        homes.discard(_Home("LayerParameter", (field,), inside=True))


def extension(original: AnyMessage, params: type[P]) -> P:
    """What the class `params` of a plugin declares, as a message has it: read and set with the class's own types.

    `extension(layer, FocalLoss.Param).gamma` is the gamma of the LayerParameter's field that was declared with that
    class, its default where the layer has none. Of a class that extends a message it is the message itself. What is
    set on it is set in the message. An enum's value is its number: an `enum.IntEnum` compares with that.

    Raises PrototxtError where the class declares nothing of this message, or more than one field, and where the
    message was made before the plugin was loaded.
    """
    owner, parent = described.owner(params), original.DESCRIPTOR.name
    homes = [home for home in _homes.get(params, ()) if home.message == parent]
    if len(homes) != 1:
        raise PrototxtError(f"{owner} declares {'more than one field' if homes else 'no field'} of {parent}")
    home = homes[0]
    if not set(home.fields) <= set(original.DESCRIPTOR.fields_by_name):
        raise PrototxtError(f"this {parent} is older than the fields of {owner}: sdcaffe.proto.copied brings it along")
    return typing.cast(P, getattr(original, home.fields[0]) if home.inside else original)


def _declare(params: type, parent: str, additions: list[_Declaration]) -> None:
    owner = described.owner(params)
    new = [a._replace(owner=owner) for a in additions if not _known(a)]
    if not new:
        return
    for addition in new:
        if parent:
            _check(addition, params)
    flaw = _flaw(parent, new)
    before = dict(_declared)
    _declared.update({(parent, a.field.name): a for a in new})
    try:
        if flaw is None and not _stand_alone(new):
            _build(raw=False)
    except (TypeError, ValueError) as error:
        flaw = str(error)
    if flaw is not None:
        _declared.clear()
        _declared.update(before)
        raise PrototxtError(f'{owner} cannot be the message of "{new[0].field.name}": {flaw}', described.place(params))
    _pools.pop(False, None)


def _known(addition: _Declaration) -> bool:
    known = _declared.get((addition.parent, addition.field.name))
    return known is not None and known._replace(owner="") == addition


def _check(addition: _Declaration, params: type) -> None:
    """Raise PrototxtError where a name or a number is taken, or no field can have the number."""
    owner, field, number = addition.owner, addition.field.name, addition.field.number
    for name, taken, by in _taken(addition.parent):
        if name == field:
            raise PrototxtError(
                f'{owner} declares the field "{field}", which {by} has already', described.place(params)
            )
        if taken == number:
            raise PrototxtError(
                f'{owner} declares the field "{field}" with number {number}, which {by} uses for "{name}"; '
                "give one of them another number",
                described.place(params),
            )
    if not 1 <= number < 2**29 or 19000 <= number < 20000:
        raise PrototxtError(
            f'{owner} declares the field "{field}" with number {number}; numbers go from 1 to 536870911, '
            "without 19000 to 19999, and those of a plugin of one's own begin at 1000",
            described.place(params),
        )


def _flaw(parent: str, new: list[_Declaration]) -> str | None:
    """What the schema has against new fields of `parent`; None: nothing. Not every protobuf says so itself."""
    known = {message.name: message for message in _source().message_type}
    others = {message.name: message for d in _declared.values() for message in d.messages}
    brought = {message.name: message for d in new for message in d.messages}
    if parent and parent not in known:
        return f'Caffe has no message "{parent}"'
    for name, message in brought.items():
        if name in known or others.get(name, message) != message:
            return f'there is a message "{name}" already; give this one another name'
    fields = [d.field for d in new] + [field for message in brought.values() for field in message.field]
    for field in fields:
        name = field.type_name.rpartition(".")[2]
        if field.type == Field.TYPE_MESSAGE and name not in {**known, **others, **brought}:
            return f'"{field.name}" is of the message "{name}", which Caffe does not have'
    extended = descriptor_pb2.DescriptorProto()
    if parent:
        extended.CopyFrom(known[parent])
        for addition in new:
            _add(addition, extended)
    for message in (extended, *brought.values()):
        values = [value.name for enum_type in message.enum_type for value in enum_type.value]
        twice = [name for name in values if values.count(name) > 1]
        if twice:
            return f'two of its enums have the value "{twice[0]}"; within one message their names must differ'
    return None


def _stand_alone(new: list[_Declaration]) -> bool:
    """Whether new fields and their messages are right by themselves: no need then to build all messages to know."""
    if any(addition.enums for addition in new):  # their values share the message's names
        return False
    file = descriptor_pb2.FileDescriptorProto(name="new.proto", package=_source().package)
    file.message_type.add(name="New_").field.extend(addition.field for addition in new if addition.parent)
    brought = {message.name: message for addition in new for message in addition.messages}
    file.message_type.extend(brought.values())
    fields = [field for message in file.message_type for field in message.field]
    others = {f.type_name.rpartition(".")[2] for f in fields if f.type == Field.TYPE_MESSAGE} - brought.keys()
    file.message_type.extend(descriptor_pb2.DescriptorProto(name=name) for name in others)
    try:
        descriptor_pool.DescriptorPool().AddSerializedFile(file.SerializeToString())
    except (TypeError, ValueError):
        return False
    return True


def _taken(parent: str) -> list[tuple[str, int, str]]:
    """Every field of a message: its name, its number, who it belongs to."""
    found = [m for m in _source().message_type if m.name == parent]
    fields = [(f.name, f.number, "BVLC Caffe") for m in found for f in m.field]
    return fields + [(d.field.name, d.field.number, d.owner) for d in _declared.values() if d.parent == parent]


def is_caffes(message: str) -> bool:
    """Whether caffe.proto has a message of this name, and no plugin brought it."""
    return any(each.name == message for each in _source().message_type)


def added(message: str) -> set[str]:
    """The fields of a message that plugins brought to it."""
    return {declaration.field.name for declaration in _declared.values() if declaration.parent == message}


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
    if raw:
        _make_raw(messages)
    else:
        for declaration in _declared.values():
            for message in declaration.messages:
                if message.name not in messages:
                    messages[message.name] = file.message_type.add()
                    messages[message.name].CopyFrom(message)
        for declaration in _declared.values():
            if declaration.parent:
                _add(declaration, messages[declaration.parent])
        for (parent, enum), values in _values.items():
            _add_values(messages[parent].enum_type, enum, values)
    result = descriptor_pool.DescriptorPool()
    result.AddSerializedFile(file.SerializeToString())
    result.FindFileByName(file.name)
    return result


def _add(declaration: _Declaration, parent: descriptor_pb2.DescriptorProto) -> None:
    parent.field.append(declaration.field)
    parent.enum_type.extend(e for e in declaration.enums if e not in parent.enum_type)


def _add_values(enums: Iterable[descriptor_pb2.EnumDescriptorProto], name: str, values: Mapping[str, int]) -> None:
    for enum in enums:
        if enum.name == name:
            known = {value.name for value in enum.value}
            for value, number in values.items():
                if value not in known:
                    enum.value.add(name=value, number=number)
            if len({value.number for value in enum.value}) < len(enum.value):
                enum.options.allow_alias = True


def _make_raw(messages: dict[str, descriptor_pb2.DescriptorProto]) -> None:
    """What sets the twin schema apart; see `raw_message`."""
    blob = messages["BlobProto"].field
    for field in blob:
        if field.options.packed:
            field.type = Field.TYPE_BYTES
            field.ClearField("options")
    blob.add(name="raw_data_type", number=10, label=Field.LABEL_OPTIONAL, type=Field.TYPE_INT32)
    blob.add(name="raw_data", number=12, label=Field.LABEL_OPTIONAL, type=Field.TYPE_BYTES)
    for name in ("LayerParameter", "V1LayerParameter"):
        fields = messages[name].field
        kept = [f for f in fields if f.type != Field.TYPE_MESSAGE or not f.name.endswith("_param")]
        del fields[:]
        fields.extend(kept)
