"""The class that Python layers derive from, how theirs are found, and how their errors are told. Registers no layer."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import sysconfig
import traceback
from pathlib import Path

from sdcaffe import hooks, proto
from sdcaffe.errors import LayerError
from sdcaffe.layers.base import Layer
from sdcaffe.layers.blob import Blob, BlobVec


class PythonLayerError(LayerError):
    """A Python layer raised; what it raised is the cause."""


class Phase(int):
    """0 or 1, as in BVLC Caffe, which reads as TRAIN or TEST, as in caffe-fast-rcnn: its layers look settings up so."""

    def __str__(self) -> str:
        return "TEST" if self else "TRAIN"


class CaffeLayer:
    """A layer as scripts see it: `type` and `blobs`. A layer written in Python derives from it.

    Such a layer has `param_str` and `phase`, and gives `setup` (called once), `reshape` (before every
    forward), `forward`, all of (bottom, top), and `backward` of (top, propagate_down, bottom); bottom and top
    are lists of Blobs.
    """

    type: str = "Python"
    param_str: str = ""
    param_str_: str = ""  # the same, as Caffe called it before 2015
    phase: int = 0

    def __init__(self, layer_param: proto.LayerParameter) -> None:
        self.layer_param = layer_param
        self.blobs = BlobVec()

    def setup(self, bottom: list[Blob], top: list[Blob]) -> None:
        """Check the layer's settings and bottoms, make its parameter blobs."""

    def reshape(self, bottom: list[Blob], top: list[Blob]) -> None:
        """Give the tops their shapes."""


def new_instance(layer: Layer) -> CaffeLayer:
    """An object of the class that a layer's python_param names.

    The module is looked for on Python's path and then in the current directory. Raises LayerError where it
    or the class is missing, PythonLayerError where it raises.
    """
    param = layer.param
    if not param.module or not param.layer:
        raise layer.error("python_param gives a module, and as layer a class of it", "python_param")
    for prepare in hooks.before_python_layers:
        prepare()
    _find(layer, param.module)
    try:
        module = importlib.import_module(param.module)
    except Exception as error:
        raise _told(layer, error, f"importing {param.module}") from error
    found = getattr(module, param.layer, None)
    if found is None:
        raise layer.error(f'module "{param.module}" ({module.__file__}) has no class "{param.layer}"', "layer")
    if not (isinstance(found, type) and issubclass(found, CaffeLayer)):
        raise layer.error(f'"{param.layer}" of {module.__file__} does not derive from caffe.Layer', "layer")
    try:
        instance = found(layer.layer_param)
    except Exception as error:
        raise _told(layer, error, "__init__") from error
    instance.param_str = instance.param_str_ = param.param_str
    instance.phase = Phase(layer.phase)
    return instance


def call(layer: Layer, instance: CaffeLayer, method: str, *arguments: object) -> None:
    """Call a method of a Python layer. Raises PythonLayerError for what it raises."""
    try:
        getattr(instance, method)(*arguments)
    except Exception as error:
        raise _told(layer, error, method) from error


def _find(layer: Layer, name: str) -> None:
    """Raise LayerError unless Python finds a module; the current directory comes last on its path."""
    if name in sys.modules:
        return
    here = str(Path.cwd())
    package = name.partition(".")[0]
    importlib.invalidate_caches()
    if importlib.util.find_spec(package) is None and here not in sys.path:
        sys.path.append(here)
        if importlib.util.find_spec(package) is None:
            sys.path.remove(here)
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        spec = None
    except Exception as error:  # a package that raises
        raise _told(layer, error, f"importing {name}") from error
    if spec is None:
        raise layer.error(f'no module "{name}": put its folder on PYTHONPATH; it is not in {here} either', "module")


def _told(layer: Layer, error: Exception, doing: str) -> PythonLayerError:
    """One line: what was raised, at which line of the layer's own code, and the calls that led there."""
    if isinstance(error, PythonLayerError):  # of a net inside the layer
        return error
    param = layer.param
    what, way = str(error), ""
    if isinstance(error, SyntaxError) and error.filename:
        what, where = error.msg, f"{error.filename}:{error.lineno}"
    else:
        own = own_frames(error)
        where = f"{own[-1].filename}:{own[-1].lineno}"
        way = " (" + " > ".join(f"{frame.name} {Path(frame.filename).name}:{frame.lineno}" for frame in own) + ")"
    return PythonLayerError(
        f'layer "{layer.name}" (Python, {param.module}.{param.layer}) raised in {doing}: '
        f"{type(error).__name__}{what and ': '}{what}{way}",
        where,
        layer=layer.name,
    )


def own_frames(error: BaseException) -> list[traceback.FrameSummary]:
    """The calls in a user's own code that led to an error that was raised; where there are none, the last call."""
    frames = traceback.extract_tb(error.__traceback__)
    return [frame for frame in frames if not _foreign(frame.filename)] or frames[-1:]


def _foreign(file: str) -> bool:
    """Whether a frame belongs to Python, to an installed package or to this one."""
    if file.startswith("<"):
        return True
    roots = [sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")]
    return any(Path(file).is_relative_to(root) for root in (*roots, str(Path(__file__).parents[1])))
