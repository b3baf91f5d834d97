"""What rooms ask each other to do without importing each other. The package's top fills it in."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sdcaffe.proto import NetParameter
    from sdcaffe.solver.solver import Solver

before_python_layers: list[Callable[[], object]] = []  # called before the module of a Python layer is imported
before_assembly: list[Callable[[NetParameter], None]] = []  # called with each net that is made: they may change it
before_iteration: list[Callable[[Solver, bool], object]] = []  # called before each; with True when training is done
before_unknown_names: list[Callable[[], object]] = []  # called before a message counts as missing: plugins have more
