"""What a file of PyTorch source may need besides its layers. It is copied whole, as the parts of layers are."""

from __future__ import annotations

from torch import nn


def place(root: nn.Module, path: str, module: nn.Module) -> None:
    """Make `module` a submodule of `root` under a dotted path."""
    *parents, name = path.split(".")
    for parent in parents:
        if parent not in root._modules:
            root.add_module(parent, nn.Module())
        root = root.get_submodule(parent)
    root.add_module(name, module)
