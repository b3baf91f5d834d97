"""Finds layer types: the modules here, installed packages' entry points, plugin files.

Nothing is listed by hand: a module that registers a Layer is known by lying in its folder. What a layer
is stands in `base`.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import logging
import os
import pkgutil
import sys
from collections.abc import Callable, Iterable
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from sdcaffe.errors import SdcaffeError

ENTRY_POINTS = "sdcaffe.layers"

_loaded: set[str] = set()


def discover(plugins: Iterable[str] = ()) -> None:
    """Make every layer type known: built-in, of installed packages, and of `plugins` (see `load_plugin`)."""
    load_builtin()
    _load_entry_points()
    for plugin in plugins:
        load_plugin(plugin)


def load_builtin() -> None:
    """Import every module of `sdcaffe.layers`, once."""
    if "builtin" in _loaded:
        return
    _loaded.add("builtin")
    import_all(__name__)


def import_all(package: str) -> None:
    """Import every module of a package, those of packages inside it too."""
    folder = importlib.import_module(package).__path__
    for info in sorted(pkgutil.iter_modules(folder), key=lambda found: found.name):
        name = f"{package}.{info.name}"
        importlib.import_module(name)
        if info.ispkg:
            import_all(name)


def load_plugin(plugin: str) -> ModuleType:
    """Import a plugin: a `.py` file by its path, or a module by its name. Loaded once, however often named.

    Raises SdcaffeError where there is no such file or module and, with the plugin's file and line, where
    it raises while it is imported.
    """
    if plugin.endswith(".py") or "/" in plugin or "\\" in plugin:
        return _load_file(Path(plugin))
    try:
        spec = importlib.util.find_spec(plugin)
    except ModuleNotFoundError:
        spec = None
    except (ImportError, ValueError) as error:
        raise SdcaffeError(f'plugin "{plugin}" cannot be imported: {error}') from error
    if spec is None:
        message = f'no module named "{plugin}" for --plugin: install it or set PYTHONPATH'
        file = Path(f"{plugin.replace('.', '/')}.py")
        if file.is_file():
            message += f"; to load the file, write --plugin {file}"
        raise SdcaffeError(message)
    return _run(spec.origin or plugin, lambda: importlib.import_module(plugin))


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise SdcaffeError("no such plugin file", where=str(path))
    real = path.resolve()
    name = f"sdcaffe_plugin_{real.stem}_{hashlib.sha256(os.fsencode(real)).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SdcaffeError("a plugin file ends in .py", where=str(path))
    module = importlib.util.module_from_spec(spec)
    loader = spec.loader

    def execute() -> ModuleType:
        sys.modules[name] = module
        try:
            loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
        return module

    return _run(spec.origin or str(path), execute)


def _run(origin: str, load: Callable[[], ModuleType]) -> ModuleType:
    try:
        return load()
    except (Exception, SystemExit) as error:
        from sdcaffe.plugins import place

        what = error.msg if isinstance(error, SyntaxError) else str(error)
        message = error.summary if isinstance(error, SdcaffeError) else f"{type(error).__name__}: {what}"
        raise SdcaffeError(message, where=place(error, origin)) from error


def _load_entry_points() -> None:
    """Load installed packages' layers, once. A broken one is a warning: the run may not need it."""
    if "entry points" in _loaded:
        return
    _loaded.add("entry points")
    from sdcaffe.plugins import brought_by

    for point in entry_points(group=ENTRY_POINTS):
        if point.dist is not None:
            brought_by.setdefault(point.module.partition(".")[0], f"{point.dist.name} {point.dist.version}")
        try:
            point.load()
        except Exception as error:
            logging.getLogger("sdcaffe").warning(
                'the installed layers "%s" (%s) cannot be imported: %s: %s',
                point.name,
                point.value,
                type(error).__name__,
                error,
            )
