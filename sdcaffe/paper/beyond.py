"""Recipes beyond the paper's, after its own list of what to try next. Their settings are common ones, not tuned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sdcaffe import proto
from sdcaffe.paper.datasets import ImageSet
from sdcaffe.paper.mechanisms import PARTS, Layers, Mechanism, SeparateBranches, TwoBranches


@dataclass(frozen=True)
class Distorted(TwoBranches):
    """Two branches distorted by more than the paper's crop and mirror: by what `distortion` adds to Distort's."""

    distortion: Mapping[str, object] = field(default_factory=dict, hash=False)

    @property
    def measures(self) -> str:
        further = [name.replace("_", " ") for name, value in self.distortion.items() if isinstance(value, Mapping)]
        return " + ".join([super().measures, *further])

    def distorted(self, images: ImageSet) -> ImageSet:
        return replace(images, further_distortion=self.distortion)


@dataclass(frozen=True)
class GaussianMMD(TwoBranches):
    """Two branches with the MMD of a Gaussian kernel in the place of the paper's."""

    @property
    def measures(self) -> str:
        return f"{PARTS[bool(self.kl_weight), False]} + Gaussian MMD"

    def edited(self, layers: Layers) -> Layers:
        for origin, layer in layers:
            if layer.type == "MMDLoss":
                layer.type = "GaussianMMDLoss"
            yield origin, layer


@dataclass(frozen=True)
class Mixed(TwoBranches):
    """Two branches whose images are blended alike, and so are the labels (mixup, with its `alpha`)."""

    alpha: float = 1

    @property
    def measures(self) -> str:
        return f"{super().measures} + mixup"

    def edited(self, layers: Layers) -> Layers:
        for origin, layer in layers:
            if layer.type == "Concat" and layer.name == "both":
                branches, blends = list(layer.bottom), ["mixed_a", "mixed_b"]
                mixup = proto.LayerParameter(name="mixup", type="Mixup", bottom=[*branches, "label"])
                mixup.top[:] = [*blends, "mixed_label"]
                mixup.include.add(phase=proto.TRAIN)
                mixup.mixup_param.alpha = self.alpha
                layer.bottom[:] = blends
                yield origin, mixup
            elif layer.name in ("loss_a", "loss_b"):
                layer.type = "MixupLoss"
                layer.bottom[1] = "mixed_label"
            yield origin, layer


BEYOND: list[Mechanism] = [
    Distorted("self-distilled, affine", "affine", 1, 0.0005, {"affine": {"rotation": 15, "scaling": 0.1, "shear": 10}}),
    Distorted("self-distilled, perspective", "perspective", 1, 0.0005, {"perspective": {"displacement": 0.3}}),
    Distorted(
        "self-distilled, thin-plate spline",
        "thin_plate_spline",
        1,
        0.0005,
        {"thin_plate_spline": {"displacement": 0.05}},
    ),
    Distorted("self-distilled, random erasing", "random_erasing", 1, 0.0005, {"erasing": {"probability": 0.5}}),
    SeparateBranches("self-distilled, adversarial", "adversarial", kl_weight=1, mmd_weight=0.0005, attack=4),
    GaussianMMD("self-distilled, Gaussian MMD", "gaussian_mmd", kl_weight=1, mmd_weight=0.1),
    Mixed("self-distilled, mixup", "mixup", kl_weight=1, mmd_weight=0.0005, alpha=1),
]
