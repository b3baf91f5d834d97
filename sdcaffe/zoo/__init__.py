"""The networks and recipes as Python that writes prototxt/. Training never imports it.

`python -m sdcaffe.zoo` writes every file; `files()` gives the same texts without writing.
"""

from __future__ import annotations

from sdcaffe.zoo.datasets import CIFAR100, SYNTHETIC, ImageSet
from sdcaffe.zoo.mechanisms import Baseline, TwoBranches, deploy, self_distilled
from sdcaffe.zoo.network import Network
from sdcaffe.zoo.recipes import QUICKSTART, RESNET, Recipe
from sdcaffe.zoo.resnet import ResNet

__all__ = ["files"]


def files() -> dict[str, str]:
    """Every file of prototxt/: its path from the top of the repository, and its text."""
    small = ResNet(depth=8, classes=10, batch_norm_fraction=0.95)
    return {
        **_family("quickstart", small, SYNTHETIC, QUICKSTART, temperature=2),
        **_family("cifar100/resnet32", ResNet(depth=32, classes=100), CIFAR100, RESNET, temperature=3),
    }


def _family(folder: str, network: Network, images: ImageSet, recipe: Recipe, temperature: float) -> dict[str, str]:
    """One network on one image set: a train_val net and a solver for each mechanism, and a deploy net."""
    texts = {f"prototxt/{folder}/deploy.prototxt": deploy(network, images)}
    mechanisms: list[Baseline | TwoBranches] = [Baseline(), self_distilled(temperature)]
    for mechanism in mechanisms:
        name = mechanism.title.replace("-", "_")
        train_val = f"prototxt/{folder}/train_val_{name}.prototxt"
        texts[train_val] = mechanism.train_val(network, images, recipe.batch_size)
        texts[f"prototxt/{folder}/solver_{name}.prototxt"] = recipe.solver(
            images,
            train_val,
            f"runs/{folder}/{name}",
            [f"{network.name}, {images.title}, {mechanism.title}."],
        )
    return texts
