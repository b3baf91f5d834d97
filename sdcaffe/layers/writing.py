"""How a layer is written in other forms: what `Layer.to_onnx` and `Layer.to_source` are given. Writes no file."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

Attribute = int | float | str | Sequence[int] | Sequence[float] | Sequence[str]  # of an operator of ONNX


class OnnxBuilder(Protocol):
    """What a layer's `to_onnx` has besides its bottoms."""

    @property
    def blobs(self) -> Sequence[Tensor]:
        """Constants of the model: what the layer's `onnx_blobs` gave.

        A layer that is `linear` finds the weight and the bias of a norm or a Scale behind it taken into them, and
        perhaps a bias that it did not have.
        """

    @property
    def scale(self) -> tuple[Tensor | None, Tensor | None]:
        """What a layer that `normalizes` multiplies its top by and adds to it, both (c,): a Scale behind it.

        Each is None where there is none.
        """

    def traced(self, *bottoms: Tensor) -> Tensor | tuple[Tensor, ...]:
        """The layer's own computation by `blobs` and `scale`, as torch's exporter traces it."""

    def operator(
        self,
        name: str,
        inputs: Sequence[Tensor],
        shape: Sequence[int],
        *,
        dtype: torch.dtype | None = None,
        **attributes: Attribute,
    ) -> Tensor:
        """The one output, of this shape and the type of the first input or `dtype`, of an operator of ONNX."""


@dataclass(frozen=True)
class Source:
    """What a layer becomes in PyTorch source: an expression.

    In `text`, `{0}`, `{1}`, ... stand for the bottoms and `{self}` for the module, which `module` makes where the
    layer has one. `nests`: the bottom stands once and as a whole argument, so that any expression may take its place.
    A layer of several tops gives a tuple, or has one expression for `each` of its bottoms.
    """

    text: str
    module: str | None = None
    nests: bool = True
    each: bool = False


class SourceBuilder(Protocol):
    """What a layer's `to_source` has besides the shapes of its bottoms."""

    def part(self, part: Callable[..., object]) -> str:
        """Put a class or a function, as its source stands, into the file; its name there.

        It may use torch, nn, Tensor and F (torch.nn.functional), and nothing else.
        """


def number(value: float) -> str:
    """The shortest decimal of a number that a prototxt gave as float32, or a whole number."""
    if isinstance(value, int):
        return str(value)
    if not math.isfinite(value):
        return f'float("{value}")'
    return repr(float(str(np.float32(value))))


def pair(values: Iterable[int]) -> str:
    """A size for each axis: one number where all are the same."""
    values = tuple(values)
    if len(set(values)) == 1:
        return str(values[0])
    return f"({', '.join(map(str, values))})"


def call(function: str, *arguments: str, **named: str | None) -> str:
    """A call; arguments that are None are left out."""
    given = [f"{name}={value}" for name, value in named.items() if value is not None]
    return f"{function}({', '.join([*arguments, *given])})"


def linear_text(scale: float, shift: float) -> str:
    """The source of `{0}` times a number plus a number."""
    text = "{0}" if scale == 1 else f"{{0}} * {number(scale)}"
    return text if shift == 0 else f"{text} + {number(shift)}"
