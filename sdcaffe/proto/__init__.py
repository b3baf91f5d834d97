"""Caffe's messages and their files: `proto.NetParameter()`, `proto.read_net(path)`.

Message classes are looked up in the current schema at each use, as it grows when a plugin declares a
field. Nothing here knows what a layer computes, and nothing imports torch.
"""

from __future__ import annotations

import importlib
from typing import Any

from sdcaffe.proto import elsewhere as elsewhere
from sdcaffe.proto import schema

TRAIN = 0
TEST = 1

# Loaded when first used: reading text needs no numpy, and making messages needs neither.
_MODULES = {
    "text": ("Positions", "format", "parse"),
    "files": (
        "atomic_write",
        "read_binary",
        "read_net",
        "read_net_located",
        "read_solver",
        "read_solver_located",
        "read_text",
        "write_binary",
        "write_text",
    ),
    "upgrade": ("net_needs_upgrade", "solver_needs_upgrade", "upgrade_net", "upgrade_solver"),
    "weights": (
        "LayerBlobs",
        "State",
        "array_to_blob",
        "blob_to_array",
        "read_blob",
        "read_net_name",
        "read_state",
        "read_weights",
        "write_blob",
        "write_state",
        "write_weights",
    ),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name.startswith("_"):
        raise AttributeError(name)
    return schema.message(name)
