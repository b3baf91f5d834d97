"""What rooms ask each other to do without importing each other. The package's top fills it in."""

from __future__ import annotations

from collections.abc import Callable

before_python_layers: list[Callable[[], object]] = []  # called before the module of a Python layer is imported
