"""What a script written for Caffe's Python interface expects of `import caffe`.

`install()` makes `import caffe` mean this package; `sdcaffe pycaffe SCRIPT` does so before it runs a script.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys

from sdcaffe import layers as _layers
from sdcaffe.layers.base import registered as _registered
from sdcaffe.layers.blob import Blob
from sdcaffe.layers.caffe_layer import CaffeLayer as Layer
from sdcaffe.proto import TEST, TRAIN
from sdcaffe.pycaffe import io
from sdcaffe.pycaffe.classifier import Classifier
from sdcaffe.pycaffe.detector import Detector
from sdcaffe.pycaffe.logs import init_log, log
from sdcaffe.pycaffe.mode import (
    NCCL,
    has_nccl,
    set_device,
    set_mode_cpu,
    set_mode_gpu,
    set_multiprocess,
    set_random_seed,
    set_solver_count,
    set_solver_rank,
    solver_count,
    solver_rank,
)
from sdcaffe.pycaffe.net import Net
from sdcaffe.pycaffe.net_spec import NetSpec, layers, params, to_proto
from sdcaffe.pycaffe.solver import (
    AdaDeltaSolver,
    AdaGradSolver,
    AdamSolver,
    NesterovSolver,
    RMSPropSolver,
    SGDSolver,
    get_solver,
)
from sdcaffe.pycaffe.timer import Timer

__version__ = "1.0.0"  # of the interface

__all__ = [
    "NCCL",
    "TEST",
    "TRAIN",
    "AdaDeltaSolver",
    "AdaGradSolver",
    "AdamSolver",
    "Blob",
    "Classifier",
    "Detector",
    "Layer",
    "NesterovSolver",
    "Net",
    "NetSpec",
    "RMSPropSolver",
    "SGDSolver",
    "Timer",
    "get_solver",
    "has_nccl",
    "init_log",
    "install",
    "io",
    "layer_type_list",
    "layers",
    "log",
    "params",
    "set_device",
    "set_mode_cpu",
    "set_mode_gpu",
    "set_multiprocess",
    "set_random_seed",
    "set_solver_count",
    "set_solver_rank",
    "solver_count",
    "solver_rank",
    "to_proto",
]


_layers.discover()  # before a script makes a message: each plugin's fields make the classes of messages new


def layer_type_list() -> list[str]:
    """Every layer type there is, sorted."""
    return list(_registered())


def install() -> None:
    """Let `import caffe`, and `import caffe.io` and the like, mean this package from here on."""
    this = sys.modules[__name__]
    if sys.modules.get("caffe") is this:
        return
    for name in ("caffe", "caffe.pycaffe", "caffe._caffe"):  # Caffe's own split of what is one here
        sys.modules[name] = this
        setattr(this, name.rpartition(".")[2], this)
    for info in pkgutil.walk_packages(__path__, f"{__name__}."):
        sys.modules["caffe" + info.name.removeprefix(__name__)] = importlib.import_module(info.name)
