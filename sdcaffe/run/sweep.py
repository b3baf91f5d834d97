"""The combinations of values that a sweep tries, and what each changes of a solver and its nets. Starts no run."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sdcaffe import proto
from sdcaffe.errors import PrototxtError, UsageError, nearest
from sdcaffe.layers.base import class_of
from sdcaffe.proto.layout import quoted

Settings = tuple[tuple[str, str], ...]  # what is set and the value's text, in the order given
Grid = tuple[tuple[str, tuple[str, ...]], ...]

_LIST = re.compile(r"\s*(\[[^\]]*\]|[^,\[\]]*)\s*")
_PLAIN = re.compile(r"[^\w.+-]+")


@dataclass(frozen=True)
class _Target:
    """A field, by the messages that lead to it from `message`: a solver, or a layer of `net` (an index)."""

    message: Any
    path: tuple[str, ...]


def values_of(text: str) -> tuple[str, ...]:
    """The values of `1,2,[3,4]`: three, the last of which a repeated field takes as its list."""
    found, at = [], 0
    while True:
        match = _LIST.match(text, at)
        assert match is not None
        found.append(match[1].strip())
        at = match.end()
        if at >= len(text) or text[at] != ",":
            break
        at += 1
    if at < len(text) or not all(found):
        raise UsageError(f'"{text}" is no list of values as 0.5,1,2 (of a repeated field: [1,2],[3])')
    return tuple(found)


def grid_of(settings: Mapping[str, Sequence[object]]) -> Grid:
    """What a script sets, as text: a list among the values is that of a repeated field."""
    return tuple((name, tuple(_text(value) for value in values)) for name, values in settings.items())


def _text(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(_text, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def combinations(grid: Grid) -> Iterator[Settings]:
    """Each value of the first with each of the second, and so on; one empty combination of nothing.

    Raises UsageError for a field without values or with one value twice.
    """
    names = [name for name, _ in grid]
    for name, values in grid:
        if not values or len(set(values)) < len(values):
            raise UsageError(f"{name} is set to {', '.join(values) or 'nothing'}: give each value once")
    for chosen in itertools.product(*(values for _, values in grid)):
        yield tuple(zip(names, chosen, strict=True))


def suffix(settings: Settings) -> str:
    """What is added to the snapshot_prefix of a run with these settings: `_lambda0.5_base_lr0.1`."""
    parts = (f"_{name}{value.strip('[]')}" for name, value in settings if name != "snapshot_prefix")
    return "".join(_PLAIN.sub("-", part) for part in parts)


def apply(settings: Settings, param: proto.SolverParameter, *, ignore_unknown: bool = False) -> None:
    """Set fields of a solver, or of layers of its nets, which then stand in the solver itself.

    A name is a field of the solver (`base_lr`), a field of each layer of a name (`kl.loss_weight`), or one that layer
    types give their own fields (`knobs`). Raises UsageError for a name or value that there is not, with the nearest.
    """
    solver = [(name, value) for name, value in settings if _in_message(proto.SolverParameter.DESCRIPTOR, name)]
    for name, value in solver:
        _set(_Target(param, tuple(name.split("."))), name, value)
    of_layers = [pair for pair in settings if pair not in solver]
    if not of_layers:
        return
    nets = _inlined(param, ignore_unknown)
    seen: dict[tuple[int, tuple[str, ...]], str] = {}
    for name, value in of_layers:
        for target in _targets(name, nets, param):
            other = seen.setdefault((id(target.message), target.path), name)
            if other != name:
                raise UsageError(f"{other} and {name} set the same field: leave one of them out")
            _set(target, name, value)


def _inlined(param: proto.SolverParameter, ignore_unknown: bool) -> list[proto.NetParameter]:
    """The nets of a solver, those in files read into it."""
    for field in ("net", "train_net"):
        if param.HasField(field):
            net = proto.read_net(getattr(param, field), ignore_unknown=ignore_unknown)
            param.ClearField(field)
            getattr(param, f"{field}_param").CopyFrom(net)
    for path in param.test_net:
        param.test_net_param.append(proto.read_net(path, ignore_unknown=ignore_unknown))
    param.ClearField("test_net")
    single = [getattr(param, field) for field in ("net_param", "train_net_param") if param.HasField(field)]
    return [*single, *param.test_net_param]


def _targets(name: str, nets: Sequence[proto.NetParameter], param: proto.SolverParameter) -> list[_Target]:
    """The fields that a name means in the layers of `nets`. Raises UsageError where there is none."""
    layers = [layer for net in nets for layer in net.layer]
    by_knob = [
        _Target(layer, tuple(class_of(layer).knobs[name].split(".")))
        for layer in layers
        if name in class_of(layer).knobs
    ]
    if by_knob:
        return by_knob
    named = [layer for layer in layers if name.startswith(f"{layer.name}.")]
    longest = max((len(layer.name) for layer in named), default=0)
    found = [layer for layer in named if len(layer.name) == longest]
    if not found:
        raise UsageError(_unknown(name, layers, param))
    path = name[longest + 1 :]
    if not _in_message(found[0].DESCRIPTOR, path):
        near = _nearest_path(path, found[0])
        meant = f". Did you mean {found[0].name}.{near}?" if near else ""
        raise UsageError(f'layer "{found[0].name}" ({found[0].type}) has no field "{path}"{meant}')
    return [_Target(layer, tuple(path.split("."))) for layer in found]


def _unknown(name: str, layers: Sequence[proto.LayerParameter], param: proto.SolverParameter) -> str:
    """The sentence for a name that is neither a field of the solver, nor a layer's, nor a knob."""
    head, dot, rest = name.partition(".")
    if dot:
        near = nearest(head, [layer.name for layer in layers])
        return f'the net has no layer "{head}"' + (f". Did you mean {near}.{rest}?" if near else "")
    knobs = {knob for layer in layers for knob in class_of(layer).knobs}
    near = nearest(name, [*(field.name for field in param.DESCRIPTOR.fields), *knobs])
    return f'the solver has no field "{name}", and no layer of its net has one by that name' + (
        f". Did you mean {near}?" if near else ""
    )


def _nearest_path(path: str, layer: proto.LayerParameter) -> str | None:
    """The field of a layer that one may have meant: one of every layer, or of its type's own message."""
    own = class_of(layer).field
    known = [field.name for field in layer.DESCRIPTOR.fields if not field.name.endswith("_param")]
    message = layer.DESCRIPTOR.fields_by_name[own].message_type if own else None
    known += [f"{own}.{inner.name}" for inner in message.fields] if message is not None else []
    by_last = {one.rpartition(".")[2]: one for one in reversed(known)}
    last = path.rpartition(".")[2]
    return by_last.get(last) or nearest(path, known) or by_last.get(nearest(last, by_last) or "")


def _in_message(descriptor: Any, path: str) -> bool:
    """Whether a path of names leads to a field that takes a value."""
    for name in path.split("."):
        field = None if descriptor is None else descriptor.fields_by_name.get(name)
        if field is None:
            return False
        descriptor = field.message_type
    return descriptor is None


def _set(target: _Target, name: str, value: str) -> None:
    """Give a field its one value, or its list. Raises UsageError for a value that it does not take."""
    message = target.message
    for part in target.path[:-1]:
        inner = getattr(message, part)
        if not hasattr(inner, "ListFields"):
            if len(inner) != 1:
                raise UsageError(f"{name}: there are {len(inner)} {part}, not one whose field could be meant")
            inner = inner[0]
        message = inner
    leaf = target.path[-1]
    field = message.DESCRIPTOR.fields_by_name[leaf]
    items = value[1:-1].split(",") if value.startswith("[") and value.endswith("]") else [value]
    texts = [quoted(item.strip().encode()) if field.type == field.TYPE_STRING else item.strip() for item in items]
    text = texts[0] if items == [value] else f"[{', '.join(texts)}]"
    read = type(message)()
    try:
        proto.text.parse(f"{leaf}: {text}", read, "")
    except PrototxtError as error:
        raise UsageError(f"{name}={value}: {error.message}") from None
    if [one.name for one, _ in read.ListFields()] not in ([leaf], []):
        raise UsageError(f"{name}={value}: this is more than one value")
    message.ClearField(leaf)
    message.MergeFrom(read)
