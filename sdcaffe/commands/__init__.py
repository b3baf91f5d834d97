"""The commands of the command line, one module each; found, not listed.

A command module's docstring opens with the line that help shows. It has `EXAMPLE`, a command that works,
`add_flags(parser)`, and `run(args)`, which calls what does the work and returns nothing or an exit code.
Its name is the command's, with `_` for `-`. It imports heavy modules where it uses them.

A package is a group: its own docstring opens with the line that help shows, and its modules are commands as
these are, `sdcaffe GROUP COMMAND`.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from types import ModuleType


def names(group: str = __name__) -> list[str]:
    """Every command of a group, the package's full name; sorted."""
    path = sys.modules[group].__path__
    found = sorted(info.name.replace("_", "-") for info in pkgutil.iter_modules(path))
    if not found:
        os.listdir(path[0])  # raises where there is no handle for it, which pkgutil passes over
    return found


def load(name: str, group: str = __name__) -> ModuleType:
    """The module of a command in `names(group)`."""
    return importlib.import_module(f"{group}.{name.replace('-', '_')}")


def is_group(module: ModuleType) -> bool:
    """Whether a command's module holds commands."""
    return hasattr(module, "__path__")


def first_line(module: ModuleType) -> str:
    """The first line of a command's docstring."""
    return (module.__doc__ or "").strip().partition("\n")[0]
