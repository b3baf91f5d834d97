"""torch's table of its operators in ONNX, made once a process. torch's exporter makes it anew at each export.

Making it takes longer than tracing a small net: it reads the source of 500 functions. Where a version of torch or
onnxscript keeps its table elsewhere, its exporter goes on making it.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def kept_table() -> Iterator[None]:
    """Within, torch's exporter takes copies of one table for each opset. Not for several threads, as the exporter."""
    registry = _named("torch.onnx._internal.exporter._registration", "ONNXRegistry")
    made = None if registry is None else vars(registry).get("from_torchlib")
    if not isinstance(made, classmethod):
        yield
        return

    def copied(cls: Any, *opset: int, **named: int) -> Any:
        table = _table(cls, made, *opset, **named)
        copy = cls()
        vars(copy).update(vars(table), functions={target: list(found) for target, found in table.functions.items()})
        return copy

    registry.from_torchlib = classmethod(copied)
    try:
        yield
    finally:
        registry.from_torchlib = made


@functools.cache
def _table(cls: Any, made: Any, *opset: int, **named: int) -> Any:
    """What torch makes, without reading the sources of which it uses nothing."""
    traced = _named("onnxscript._internal.values", "TracedOnnxFunction")
    read = None if traced is None else vars(traced).get("function_ir")
    if not isinstance(read, property):
        return made.__func__(cls, *opset, **named)
    traced.function_ir = property(lambda own: _Unread(own, read))
    try:
        return made.__func__(cls, *opset, **named)
    finally:
        traced.function_ir = read


class _Unread:
    """What onnxscript knows of a function without its source; all else is read when it is asked for."""

    def __init__(self, function: Any, read: property) -> None:
        self.domain = function.opset.domain
        self._whole = functools.partial(read.__get__, function)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole(), name)


def _named(module: str, name: str) -> Any:
    try:
        return getattr(importlib.import_module(module), name, None)
    except ImportError:
        return None
