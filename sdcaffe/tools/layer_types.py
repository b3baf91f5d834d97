"""Describes layer types from what they declare: class attributes, docstring, parameter message. Builds no layer."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

from sdcaffe import proto
from sdcaffe.errors import SdcaffeError, nearest
from sdcaffe.layers.base import Count, DataLayer, Layer, makers, registered
from sdcaffe.log.table import text_table
from sdcaffe.plugins import file_of, is_plugin, origin
from sdcaffe.proto import dialects, past, schema

_FIRST_ADDED = 1000  # fields numbered from here on are not BVLC Caffe's
_TYPE_NAMES = {
    1: "double",
    2: "float",
    3: "int64",
    4: "uint64",
    5: "int32",
    8: "bool",
    9: "string",
    12: "bytes",
    13: "uint32",
}
_STRING, _FLOATS = 9, (1, 2)
_REPEATED = 3  # a field's label


def overview() -> list[str]:
    """Lines of a table of every known type."""
    rows = [["type", "bottoms", "tops", "blobs", "ONNX", "parameters", "from"]]
    for name, cls in registered().items():
        blobs = "yes" if _makes_blobs(cls) else "-"
        origins = ", ".join(dict.fromkeys(origin(maker) for maker in makers(name)))
        onnx = "left out" if _instead(cls).startswith("nothing") else "no" if cls.not_exported else "yes"
        rows.append([name, _count(cls.bottoms), _tops(cls), blobs, onnx, cls.field or "-", origins])
    words = (
        "ONNX: whether `sdcaffe export` writes it; what is left out judges or trains. `sdcaffe layers TYPE` says why."
    )
    return [*text_table(rows), "", words, f"Free field numbers for a layer of your own: {free_numbers()}"]


def forks() -> list[str]:
    """Lines of a table of the forks that files may be read as."""
    rows = [["fork", "repository", "what it decides"]]
    rows += [[fork.name, fork.repository, fork.decides or "-"] for fork in dialects.known()]
    return text_table(rows)


def description(type_name: str) -> list[str]:
    """Lines on one type, given in any case. Raises SdcaffeError, with the nearest type, for one that is unknown."""
    types = registered()
    name = {known.lower(): known for known in types}.get(type_name.lower())
    if name is None:
        near = nearest(type_name, types)
        hint = f'Did you mean "{near}"?' if near else "`sdcaffe layers` lists all; --plugin brings others."
        raise SdcaffeError(f'unknown layer type "{type_name}". {hint}')
    cls = types[name]
    lines = [f"{name}, from {origin(cls)}", ""]
    for paragraph in _documentation(cls):
        lines += [*paragraph.splitlines(), ""]
    facts = [("bottoms", _count(cls.bottoms)), ("tops", _tops(cls)), ("blobs", blobs(cls))]
    if cls.index_bottoms:
        facts.append(("no gradient to", _indexed(cls)))
    facts.append(("in place", "yes" if cls.in_place else "no"))
    instead = _instead(cls)
    onnx = f"no, {cls.not_exported}" if cls.not_exported else "yes"
    facts.append(("ONNX", instead or onnx))
    source = "yes" if cls.to_source is not Layer.to_source else f"no, {cls.not_exported}" if cls.not_exported else "no"
    facts.append(("PyTorch source", instead or source))
    dialects = makers(name)[1:]
    if dialects:
        facts.append(("dialects", ", ".join(dict.fromkeys(map(origin, dialects)))))
    if cls.loss:
        facts.append(("loss weight", "1 for the first top where the prototxt says nothing"))
    facts.append(("code", ", ".join(dict.fromkeys(map(_code, makers(name))))))
    lines += [f"{label + ':':<16}{value}" for label, value in facts]
    for field in _fields(cls):
        lines += ["", *_parameters(field)]
    return lines


def _code(cls: type[Layer]) -> str:
    """Where a type's class stands: the module, or a plugin's file."""
    return file_of(cls) if is_plugin(cls) else cls.__module__


def _indexed(cls: type[Layer]) -> str:
    """The bottoms that no gradient goes to."""
    most = cls.bottoms if isinstance(cls.bottoms, int) else cls.bottoms[1]
    every = set(cls.index_bottoms) >= set(range(len(cls.index_bottoms) if most is None else most))
    if every and (most is None or most > 1):
        return "any bottom"
    return "bottom " + ", ".join(map(str, cls.index_bottoms))


def _instead(cls: type[Layer]) -> str:
    """What a deployed net has in place of a layer; "" where it has the layer itself."""
    if cls.given or issubclass(cls, DataLayer):
        return "an input"
    if cls.copies:
        return "its bottom"
    one, two = (cls.deployed(proto.LayerParameter(type=cls.type, bottom="01", top="01"[:n])) for n in (1, 2))
    if one is not None:
        return "" if one.type == cls.type else one.type
    return "nothing: it is left out" + (f"; its second top is a {two.type}'s" if two is not None else "")


def free_numbers() -> str:
    """The numbers from 1000 on that no field of LayerParameter has."""
    taken = sorted(f.number for f in proto.LayerParameter.DESCRIPTOR.fields if f.number >= _FIRST_ADDED)
    parts, first = [], _FIRST_ADDED
    for number in taken:
        if number > first:
            parts.append(str(first) if number == first + 1 else f"{first} to {number - 1}")
        first = number + 1
    return ", ".join([*parts, f"{first} and above"])


def blobs(cls: type[Layer]) -> str:
    """What the docstring of a type, or of the class it stands on, says of its parameter blobs; "none" without any."""
    if not _makes_blobs(cls):
        return "none"
    for base in _own_classes(cls):
        doc = " ".join(inspect.cleandoc(base.__doc__ or "").split())
        sentences = re.split(r"(?<=\.)\s+(?=[A-Z]|[a-z] is |[a-z], )", doc)
        said = [s for s in sentences if re.search(r"\bblobs?\b", s, re.IGNORECASE) and not s.startswith("Raises")]
        if said:
            return " ".join(said).removeprefix("Blobs: ")
    return "yes; the type's documentation does not say which"


def _documentation(cls: type[Layer]) -> Iterator[str]:
    """The docstring of a type, and of a class it stands on where that docstring refers to it."""
    own = inspect.cleandoc(cls.__doc__ or "")
    if own:
        yield own
    for base in list(_own_classes(cls))[1:]:
        if re.search(rf"\b{base.__name__}\b", own) and base.__doc__:
            yield f"{base.__name__}: {inspect.cleandoc(base.__doc__)}"


def _fields(cls: type[Layer]) -> list[str]:
    """The fields of LayerParameter that a type reads: its own, then others that its code names."""
    known = proto.LayerParameter.DESCRIPTOR.fields_by_name
    named = [name for name in re.findall(r"\.(\w+_param)\b", _source(cls)) if name in known]
    return list(dict.fromkeys([*([cls.field] if cls.field else []), *named]))


def _own_classes(cls: type) -> Iterator[type[Layer]]:
    for base in cls.__mro__:
        if issubclass(base, Layer) and base not in (Layer, DataLayer):
            yield base


def _source(cls: type) -> str:
    """The code of a type and the classes it stands on; what cannot be found is left out."""
    found = []
    for base in _own_classes(cls):
        try:
            found.append(inspect.getsource(base))
        except (OSError, TypeError):
            continue
    return "\n".join(found)


def _makes_blobs(cls: type) -> bool:
    return "self.blob(" in _source(cls)


def _count(count: Count) -> str:
    if isinstance(count, int):
        return str(count)
    low, high = count
    return f"{low} or more" if high is None else f"{low} to {high}" if low < high else str(low)


def _tops(cls: type[Layer]) -> str:
    return "as bottoms" if cls.same_tops else _count(cls.tops)


def _parameters(field: str) -> list[str]:
    """A table of the fields of one parameter message, then of the messages inside it."""
    descriptor = proto.LayerParameter.DESCRIPTOR.fields_by_name[field].message_type
    lines = [f"{field} (LayerParameter field {_number(field)}):"]
    waiting: list[Any] = [descriptor]
    done: set[str] = set()
    while waiting:
        message = waiting.pop(0)
        if message.name in done:
            continue
        if done:
            lines += ["", f"{message.name}:"]
        done.add(message.name)
        facts, added, caffes = _facts(message), schema.added(message.name), schema.is_caffes(message.name)
        rows = [["field", "type", "default"]]
        for item in message.fields:
            repeated = facts[item.name].label == _REPEATED
            kind = _type(item) + ("[]" if repeated else "")
            told = ["not in BVLC Caffe"] if caffes and (item.number >= _FIRST_ADDED or item.name in added) else []
            told += ["not looked at"] if item.name in past.fields_of(message.name) else []
            rows.append([item.name, kind, _default(item, facts[item.name]), ", ".join(told)])
            if item.message_type is not None:
                waiting.append(item.message_type)
        lines += [f"  {line}" for line in text_table(rows)] if len(rows) > 1 else ["  (no fields)"]
    return lines


def _number(field: str) -> int:
    return int(proto.LayerParameter.DESCRIPTOR.fields_by_name[field].number)


def _facts(message: Any) -> dict[str, Any]:
    """Field name -> its FieldDescriptorProto, where every protobuf release has labels and defaults."""
    from google.protobuf import descriptor_pb2

    copy = descriptor_pb2.DescriptorProto()
    message.CopyToProto(copy)
    return {field.name: field for field in copy.field}


def _type(field: Any) -> str:
    if field.message_type is not None:
        return str(field.message_type.name)
    if field.enum_type is not None:
        return " | ".join(value.name for value in field.enum_type.values)
    return _TYPE_NAMES.get(field.type, "?")


def _default(field: Any, facts: Any) -> str:
    if facts.label == _REPEATED or field.message_type is not None:
        return "-"
    if facts.HasField("default_value"):
        if field.type == _STRING:
            return f'"{facts.default_value}"'
        return f"{float(facts.default_value):g}" if field.type in _FLOATS else str(facts.default_value)
    if field.enum_type is not None:
        return str(field.enum_type.values[0].name)
    return "-"
