"""The table of torch's operators that are written as ONNX, and what its functions share.

A function takes the recorder, what torch gave for it, and torch's own arguments. It may return a constant in place of
what torch gave.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from sdcaffe.net.engine.recorder import Recorder, Unsupported

OPERATORS: dict[str, Callable[..., Any]] = {}


def operator(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a function the one that writes the operators of these names."""

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        OPERATORS.update(dict.fromkeys(names, function))
        return function

    return add


def refuse(what: str) -> Any:
    raise Unsupported(f"torch's {what} in this form is not among what is written as ONNX")


def reshaped(r: Recorder, name: str, shape: Sequence[int], out: Tensor) -> None:
    if not out.numel():
        refuse("empty tensor")
    if tuple(shape) == tuple(out.shape):
        r.call(out, name)
    else:
        r.emit("Reshape", [name, r.constant(list(out.shape), torch.int64)], out)
