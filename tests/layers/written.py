"""Modules that `convert module` writes, opened as one who has the files would."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from pathlib import Path

import torch
from torch import nn

COUNT = itertools.count()


def open_module(path: Path) -> nn.Module:
    """The module that a file of source holds, in evaluation; with the weights of the .pt beside it, if there is one."""
    name = f"written_{next(COUNT)}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    source = importlib.util.module_from_spec(spec)
    sys.modules[name] = source  # where torch looks up a class that it exports
    spec.loader.exec_module(source)
    module: nn.Module = list(vars(source).values())[-1]().eval()
    if (weights := path.with_suffix(".pt")).exists():
        module.load_state_dict(torch.load(weights, weights_only=True))
    return module
