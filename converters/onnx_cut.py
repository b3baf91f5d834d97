"""Nets cut at blobs: `begins` become inputs, `ends` outputs. Computes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from sdcaffe import proto
from sdcaffe.errors import GraphError
from sdcaffe.layers.base import Shape


def begun(
    layers: Iterable[proto.LayerParameter],
    begins: Iterable[str],
    shapes: Mapping[str, Shape],
    measured: Callable[[str], Shape],
) -> list[proto.LayerParameter]:
    """The layers with an Input in the place of the last that makes each blob of `begins`.

    `shapes` are given by blob name; `measured` finds others. Raises GraphError for a blob that no layer makes.
    """
    result = list(layers)
    for name in begins:
        made = [i for i, layer in enumerate(result) if name in layer.top]
        if not made:
            raise GraphError(f'there is no blob "{name}" to begin at; there are {_blobs(result)}')
        shape = shapes[name] if name in shapes else measured(name)
        own = f"{name}_input"
        while any(layer.name == own for layer in result):
            own += "_"
        new = proto.LayerParameter(name=own, type="Input", top=[name])
        new.input_param.shape.add().dim.extend(shape)
        last = result[made[-1]]
        if len(last.top) == 1:
            result[made[-1]] = new
            continue
        other = proto.copied(last)
        for i, top in enumerate(other.top):
            if top == name:
                other.top[i] = f"{name} before"
        result[made[-1] : made[-1] + 1] = [other, new]
    return result


def check_begins(begins: Iterable[str], layers: Iterable[proto.LayerParameter], outputs: Iterable[str]) -> None:
    """Raise GraphError for a begin that none of the outputs' `layers` brings: nothing hangs on it."""
    made = {name for layer in layers for name in layer.top}
    for name in begins:
        if name not in made:
            told = ", ".join(f'"{output}"' for output in outputs)
            raise GraphError(f'a net that begins at "{name}" and ends at {told} computes nothing from "{name}"')


def check_ends(ends: Iterable[str], layers: Iterable[proto.LayerParameter]) -> None:
    """Raise GraphError for an end that no layer makes."""
    layers = list(layers)
    made = {name for layer in layers for name in layer.top}
    for name in ends:
        if name not in made:
            raise GraphError(f'there is no blob "{name}" to end at; there are {_blobs(layers)}')


def _blobs(layers: Iterable[proto.LayerParameter]) -> str:
    return ", ".join(dict.fromkeys(name for layer in layers for name in layer.top))
