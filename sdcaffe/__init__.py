"""Caffe-faithful training on PyTorch.

Names are resolved when first used, so that importing the package costs nothing: `read_net`, `read_solver`,
`Net` and `Solver` bring torch and every known layer type with them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sdcaffe.collectives import averaged
    from sdcaffe.data.source import Source, register_source
    from sdcaffe.errors import SdcaffeError
    from sdcaffe.layers import discover
    from sdcaffe.layers.base import Layer, register
    from sdcaffe.net import Net
    from sdcaffe.paper.sizes import self_distill
    from sdcaffe.proto import TEST, TRAIN, read_net, read_solver
    from sdcaffe.proto.schema import Message
    from sdcaffe.proto.weights import read_weights, write_weights
    from sdcaffe.solver import Solver
    from sdcaffe.solver.measures import Measure, register_measure
    from sdcaffe.solver.rates import Policy, register_policy
    from sdcaffe.solver.updates import UpdateRule, register_update

from sdcaffe import hooks

__version__ = "0.2.0"

__all__ = [
    "TEST",
    "TRAIN",
    "Layer",
    "Measure",
    "Message",
    "Net",
    "Policy",
    "SdcaffeError",
    "Solver",
    "Source",
    "UpdateRule",
    "__version__",
    "averaged",
    "discover",
    "read_net",
    "read_solver",
    "read_weights",
    "register",
    "register_measure",
    "register_policy",
    "register_source",
    "register_update",
    "self_distill",
    "write_weights",
]

_HOMES = {
    "TEST": "proto",
    "TRAIN": "proto",
    "Layer": "layers.base",
    "Measure": "solver.measures",
    "Message": "proto.schema",
    "Net": "net",
    "Policy": "solver.rates",
    "SdcaffeError": "errors",
    "Solver": "solver",
    "Source": "data.source",
    "UpdateRule": "solver.updates",
    "averaged": "collectives",
    "discover": "layers",
    "read_net": "proto",
    "read_solver": "proto",
    "read_weights": "proto.weights",
    "register": "layers.base",
    "register_measure": "solver.measures",
    "register_policy": "solver.rates",
    "register_source": "data.source",
    "register_update": "solver.updates",
    "self_distill": "paper.sizes",
    "write_weights": "proto.weights",
}
_NEEDS_LAYERS = {"Net", "Solver", "read_net", "read_solver", "self_distill"}


if not TYPE_CHECKING:  # which would take every name for one that is there

    def __getattr__(name: str) -> object:
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if name in _NEEDS_LAYERS:
            _discover()
        value = getattr(importlib.import_module(f"sdcaffe.{home}"), name)
        globals()[name] = value
        return value


def _install_pycaffe() -> None:
    """What `import caffe` means in the module of a Python layer."""
    importlib.import_module("sdcaffe.pycaffe").install()


def _discover() -> None:
    importlib.import_module("sdcaffe.layers").discover()


hooks.before_python_layers.append(_install_pycaffe)
hooks.before_unknown_names.append(_discover)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
