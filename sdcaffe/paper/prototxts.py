"""The files of prototxt/ as texts, written from the recipes. Training never imports it.

`make prototxt` writes every file; `files()` gives the same texts without writing.
"""

from __future__ import annotations

from sdcaffe.layers import discover
from sdcaffe.paper.mechanisms import deploy
from sdcaffe.paper.networks.torchvision_nets import torchvision_deploys
from sdcaffe.paper.recipes import RECIPES

__all__ = ["files"]


def files() -> dict[str, str]:
    """Every file of prototxt/: its path from the top of the repository, and its text."""
    discover()  # two-branch nets are made of messages, which have the fields of the layers' own
    texts: dict[str, str] = {}
    for recipe in RECIPES:
        deployed = f"prototxt/{recipe.folder}/deploy.prototxt"
        if deployed not in texts:
            texts[deployed] = deploy(recipe.network, recipe.images)
        if recipe.net_file not in texts:
            texts[recipe.net_file] = recipe.net()
        texts[recipe.solver_file] = recipe.solver()
    return texts | torchvision_deploys()
