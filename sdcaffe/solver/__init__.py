"""Training: learning-rate policies, update rules, the loop, tests, snapshots.

`Solver` is resolved when first used, so that a plugin of rates or measures brings no more than it needs.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sdcaffe.solver.solver import Solver

__all__ = ["Solver"]


if not TYPE_CHECKING:  # which would take every name for one that is there

    def __getattr__(name: str) -> object:
        if name != "Solver":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return importlib.import_module("sdcaffe.solver.solver").Solver
