"""The class that Python layers derive from, how theirs are found, and how their errors are told. Registers no layer."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from sdcaffe.errors import LayerError
from sdcaffe.layers.base import Layer
from sdcaffe.layers.blob import Blob, BlobVec

FACE = "sdcaffe.pycaffe"  # what `import caffe` means in the module of a Python layer


class PythonLayerError(LayerError):
    """A Python layer raised; what it raised is the cause."""


class CaffeLayer:
    """A layer as scripts see it: `type` and `blobs`. A layer written in Python derives from it.

    Such a layer has `param_str` and `phase`, and gives `setup` (called once), `reshape` (before every
    forward), `forward`, all of (bottom, top), and `backward` of (top, propagate_down, bottom); bottom and top
    are lists of Blobs.
    """

    type: str = "Python"
    param_str: str = ""
    phase: int = 0

    def __init__(self, layer_param: Any) -> None:
        self.layer_param = layer_param
        self.blobs = BlobVec()

    def setup(self, bottom: list[Blob], top: list[Blob]) -> None:
        """Check the layer's settings and bottoms, make its parameter blobs."""

    def reshape(self, bottom: list[Blob], top: list[Blob]) -> None:
        """Give the tops their shapes."""


def new_instance(layer: Layer) -> CaffeLayer:
    """The object of the class that a layer's python_param names.

    The module is looked for on Python's path, then in the current directory. Raises LayerError where it or
    the class is missing, PythonLayerError where it raises while it is imported.
    """
    name, wanted = layer.param.module, layer.param.layer
    if not name or not wanted:
        raise layer.error("python_param names a module and a class of it as layer", "python_param")
    importlib.import_module(FACE).install()
    if not _on_path(name):
        raise layer.error(
            f'no module "{name}": put its folder on PYTHONPATH or run in it, {os.getcwd()} is no such folder', "module"
        )
    try:
        module = importlib.import_module(name)
    except Exception as error:
        raise _told(layer, error, f'importing "{name}"') from error
    found = getattr(module, wanted, None)
    if not (isinstance(found, type) and issubclass(found, CaffeLayer)):
        what = f'has no class "{wanted}"' if found is None else f'has "{wanted}", but it does not derive from'
        raise layer.error(f'module "{name}" ({module.__file__}) {what} caffe.Layer'.replace('" c', '" of c'), "layer")
    instance = call(layer, found, "__init__", layer.layer_param)
    instance.param_str, instance.phase = layer.param.param_str, layer.phase
    return instance


def call(layer: Layer, owner: Any, method: str, *arguments: Any) -> Any:
    """Call a method of a Python layer (of its class: make one). Raises PythonLayerError for what it raises."""
    try:
        return owner(*arguments) if method == "__init__" else getattr(owner, method)(*arguments)
    except Exception as error:
        raise _told(layer, error, method) from error


def _on_path(name: str) -> bool:
    """Whether Python finds a module, the current directory put last on its path where that alone has it."""
    if name in sys.modules:
        return True
    here = os.getcwd()
    for path in (None, here):
        if path is not None and path not in sys.path:
            sys.path.append(path)
        importlib.invalidate_caches()
        try:
            if importlib.util.find_spec(name) is not None:
                return True
        except (ImportError, ValueError):
            continue
    return False


def _told(layer: Layer, error: Exception, doing: str) -> PythonLayerError:
    """One line: what was raised, at which line of the layer's module, and the way there."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not _ours(f.filename)] or frames[-1:]
    last = own[-1]
    if isinstance(error, SyntaxError) and error.filename:
        where, way = f"{error.filename}:{error.lineno}", ""
    else:
        where = f"{last.filename}:{last.lineno}"
        way = " (" + " > ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in own) + ")"
    what = error.msg if isinstance(error, SyntaxError) else str(error)
    param = layer.param
    return PythonLayerError(
        f'layer "{layer.name}" (Python, {param.module}.{param.layer}) raised in {doing}: '
        f"{type(error).__name__}{': ' if what else ''}{what}{way}",
        where,
        layer=layer.name,
    )


def _ours(filename: str) -> bool:
    return filename.startswith("<frozen importlib") or Path(filename).parent == Path(__file__).parent
