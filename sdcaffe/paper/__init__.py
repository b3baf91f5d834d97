"""All that exists because of the paper: its layers, networks, recipes, published numbers, and what compares with them.

The core imports nothing of this package: its layers are found through the entry-point group `sdcaffe.layers`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

ORIGIN = "the paper"

if TYPE_CHECKING:
    from sdcaffe.paper.distillation import SelfDistillation, kl, mmd

__all__ = ["SelfDistillation", "kl", "mmd"]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module("sdcaffe.paper.distillation"), name)
        globals()[name] = value
        return value
