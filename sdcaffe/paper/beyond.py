"""Recipes beyond the paper's, after its own list of what to try next. Their settings are common ones, not tuned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sdcaffe.paper.datasets import ImageSet
from sdcaffe.paper.mechanisms import SeparateBranches, TwoBranches, self_distilled
from sdcaffe.paper.networks.network import Mechanism, Network


@dataclass(frozen=True)
class Distorted:
    """Self-distillation whose branches are distorted by more than the paper's crop and mirror."""

    title: str
    file: str
    distortion: Mapping[str, object]

    def train_val(self, network: Network, images: ImageSet, batch_size: int) -> str:
        further = replace(images, further_distortion=self.distortion)
        return replace(self_distilled(), title=self.title, file=self.file).train_val(network, further, batch_size)


BEYOND: list[Mechanism] = [
    Distorted("self-distilled, affine", "affine", {"affine": {"rotation": 15, "scaling": 0.1, "shear": 10}}),
    Distorted("self-distilled, perspective", "perspective", {"perspective": {"displacement": 0.3}}),
    Distorted("self-distilled, thin-plate spline", "thin_plate_spline", {"thin_plate_spline": {"displacement": 0.05}}),
    Distorted("self-distilled, random erasing", "random_erasing", {"erasing": {"probability": 0.5}}),
    SeparateBranches("self-distilled, adversarial", "adversarial", kl_weight=1, mmd_weight=0.0005, attack=4),
    TwoBranches("self-distilled, Gaussian MMD", "gaussian_mmd", kl_weight=1, mmd_weight=0.1, mmd="GaussianMMDLoss"),
    TwoBranches("self-distilled, mixup", "mixup", kl_weight=1, mmd_weight=0.0005, mixup=1),
]
