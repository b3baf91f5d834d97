"""What a layer becomes in a PyTorch module, and the table of the functions that say so, one a layer type."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sdcaffe.errors import LayerError
from sdcaffe.layers.base import Layer, Shape, registered


@dataclass
class Step:
    """What a layer becomes: an expression with `{0}`, `{1}`, ... for its bottoms and `{self}` for its module.

    `module` makes that module, where the layer has one. `nests`: the bottom stands once and as a whole argument, so
    that any expression may take its place. A layer of several tops gives a tuple, or has one expression for `each`
    of its bottoms.
    """

    text: str
    module: str | None = None
    nests: bool = True
    each: bool = False


Writer = Callable[[Any, list[Shape]], Step]
_WRITERS: dict[str, Writer] = {}


def step_of(layer: Layer, bottoms: list[Shape]) -> Step:
    """The step that a layer of a TEST net becomes. Raises LayerError for a type or an option that is not here."""
    writer = _WRITERS.get(layer.type)
    if writer is None or type(layer) is not registered().get(layer.type):
        raise layer.error("this type of layer cannot be written as a PyTorch module")
    return writer(layer, bottoms)


def writes(*types: str) -> Callable[[Writer], Writer]:
    """Make a function the one that writes layers of these types; it gets the layer and the shapes of its bottoms."""

    def add(writer: Writer) -> Writer:
        _WRITERS.update((name, writer) for name in types)
        return writer

    return add


def refused(layer: Layer, what: str) -> LayerError:
    """The error that says which option of a layer cannot be written."""
    return layer.error(f"{what} cannot be written as a PyTorch module")
