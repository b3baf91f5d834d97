"""The commands of the command line, one module each; found, not listed.

A command module's docstring opens with the line that help shows. It has `EXAMPLE`, a command that works,
`add_flags(parser)`, and `run(args)`, which calls what does the work and returns nothing or an exit code.
Its name is the command's, with `_` for `-`. It imports heavy modules where it uses them.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType


def names() -> list[str]:
    """Every command, sorted."""
    return sorted(info.name.replace("_", "-") for info in pkgutil.iter_modules(__path__))


def load(name: str) -> ModuleType:
    """The module of a command in `names()`."""
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}")


def first_line(module: ModuleType) -> str:
    """The first line of a command's docstring."""
    return (module.__doc__ or "").strip().partition("\n")[0]
