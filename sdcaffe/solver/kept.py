"""What a state keeps beyond Caffe's fields, as JSON with its checksum: read back only whole and of the right kinds.

Generators, data cursors, what layers carry, the losses of the smoothed one. What becomes of them is snapshot.py's work.
"""

from __future__ import annotations

import base64
import json
import math
import zlib
from dataclasses import dataclass, field
from typing import Any

import torch

from sdcaffe.errors import SnapshotError

_LARGEST = 2**53  # of a cursor or a batch: more is no number of batches
_SUM = b', "check": '  # opens the last entry of the text: the checksum of all before it
_SUMS = ("model", "average", "numbers")  # checksums of what belongs to it


@dataclass
class NetState:
    """Of a net: its data layers by key, as cursor, seed and batch size; its buffers by name, as shape and values."""

    data: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    buffers: dict[str, tuple[list[int], torch.Tensor]] = field(default_factory=dict)


@dataclass
class Kept:
    """`generators`: one dict a process, "cpu" and maybe "cuda" -> the generator's state (bytes).

    `memory` is what a learning-rate policy keeps. `model` is the checksum of the weights' file, `average` that of the
    averaged weights' where there is one, `numbers` that of what the state itself holds where its file has none.
    """

    type: str
    generators: list[dict[str, torch.Tensor]]
    nets: list[NetState]
    losses: list[float]
    memory: dict[str, float] = field(default_factory=dict)
    model: int | None = None
    average: int | None = None
    numbers: int | None = None


def write(kept: Kept) -> bytes:
    """The text of what is kept."""
    content: dict[str, Any] = {
        "type": kept.type,
        "generators": [{name: _text(state) for name, state in each.items()} for each in kept.generators],
        "nets": [
            {
                "data": net.data,
                "buffers": {name: [shape, _text(values)] for name, (shape, values) in net.buffers.items()},
            }
            for net in kept.nets
        ],
        "losses": kept.losses,
    }
    if kept.memory:
        content["memory"] = kept.memory
    for name in _SUMS:
        if getattr(kept, name) is not None:
            content[name] = getattr(kept, name)
    body = json.dumps(content).encode()[:-1]
    return body + _SUM + str(zlib.crc32(body)).encode() + b"}"


def read(text: bytes, where: str) -> Kept:
    """What such a text keeps. Raises SnapshotError for one that is damaged, or was never written by `write`."""
    body, mark, given = text.rpartition(_SUM)
    if mark and given != str(zlib.crc32(body)).encode() + b"}":
        raise SnapshotError("its sdcaffe_state is damaged: its checksum does not fit its text", where)
    try:
        return _kept(json.loads(text))
    except RecursionError:
        reason = "lists inside one another too deep"
    except (ValueError, _Wrong) as error:
        reason = " ".join(str(error).split())[:200]
    raise SnapshotError(f"its sdcaffe_state is broken: {reason}", where)


class _Wrong(Exception):
    pass


def _kept(content: Any) -> Kept:
    content = _of(dict, content, "what it holds")
    for name in ("type", "generators", "nets", "losses"):
        if name not in content:
            raise _Wrong(f'it lacks "{name}"')
    generators = [_generators(each) for each in _of(list, content["generators"], '"generators"')]
    if not generators:
        raise _Wrong('"generators" is empty')
    losses = [_of(float, loss, "a loss") for loss in _of(list, content["losses"], '"losses"')]
    if not all(math.isfinite(loss) for loss in losses):
        raise _Wrong("a loss is not finite")
    nets = [_net(each) for each in _of(list, content["nets"], '"nets"')]
    memory = {
        name: _of(float, value, "a number") for name, value in _of(dict, content.get("memory", {}), '"memory"').items()
    }
    if not all(math.isfinite(value) for value in memory.values()):
        raise _Wrong("a number of its memory is not finite")
    sums = {name: _of(int, content[name], f'"{name}"') for name in _SUMS if name in content}
    return Kept(_of(str, content["type"], '"type"'), generators, nets, losses, memory, **sums)


def _generators(each: Any) -> dict[str, torch.Tensor]:
    each = _of(dict, each, "a generator")
    if "cpu" not in each:
        raise _Wrong('a generator lacks "cpu"')
    found = {name: _tensor(text, torch.uint8) for name, text in each.items()}
    try:
        torch.Generator().set_state(found["cpu"])
    except (RuntimeError, TypeError):
        raise _Wrong("the state of a random generator is none of torch's") from None
    return found


def _net(each: Any) -> NetState:
    each = _of(dict, each, "a net")
    found = NetState()
    for key, numbers in _of(dict, each.get("data"), '"data"').items():
        numbers = _of(list, numbers, "a data layer")
        if len(numbers) != 3:
            raise _Wrong("a data layer has no cursor, seed and batch size")
        cursor, seed, size = (_of(int, number, "a number of a data layer") for number in numbers)
        if not (0 <= cursor < _LARGEST and 0 < size < _LARGEST and abs(seed) < 2**65):
            raise _Wrong(f"a data layer cannot be at batch {cursor} of {size} items with seed {seed}")
        found.data[key] = cursor, seed, size
    for name, pair in _of(dict, each.get("buffers"), '"buffers"').items():
        pair = _of(list, pair, "a buffer")
        if len(pair) != 2:
            raise _Wrong("a buffer has no shape and values")
        shape = [_of(int, size, "a size") for size in _of(list, pair[0], "the shape of a buffer")]
        values = _tensor(pair[1], torch.float32)
        if any(size < 0 for size in shape) or math.prod(shape) != values.numel():
            raise _Wrong(f"a buffer of shape {shape} has {values.numel()} values")
        if not bool(torch.isfinite(values).all()):
            raise _Wrong("a buffer holds numbers that are not finite")
        found.buffers[name] = shape, values.reshape(shape)
    return found


_NAMES: dict[type, str] = {dict: "a table", list: "a list", str: "a text", int: "a whole number", float: "a number"}


def _of(kind: type, value: Any, what: str) -> Any:
    """`value`, if it is of a kind. Raises _Wrong."""
    if type(value) is kind or (kind is float and type(value) is int and abs(value) < _LARGEST):
        return value
    raise _Wrong(f"{what} is not {_NAMES[kind]}")


def _text(values: torch.Tensor) -> str:
    return base64.b64encode(values.contiguous().numpy().tobytes()).decode()


def _tensor(text: Any, dtype: torch.dtype) -> torch.Tensor:
    data = bytearray(base64.b64decode(_of(str, text, "what holds numbers"), validate=True))
    if len(data) % dtype.itemsize:
        raise _Wrong(f"{len(data)} bytes are no whole numbers")
    return torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
