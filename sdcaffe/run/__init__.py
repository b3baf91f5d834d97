"""What is around a training loop: processes, devices, signals, precision, several runs together, progress.

`run` does all of it, for the command line and for scripts. It is resolved when first used: a display of progress comes
without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sdcaffe.run.training import Outcome, RunsFailed, run

__all__ = ["Outcome", "RunsFailed", "run"]


if not TYPE_CHECKING:  # which would take every name for one that is there

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module("sdcaffe.run.training"), name)
