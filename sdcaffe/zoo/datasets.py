"""The image sets of the recipes: where they come from, how large, how distorted. It reads no image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class ImageSet:
    """An image set as nets and solvers need it; `mean` and `std` are in pixel units, one a channel."""

    title: str
    source: str
    train_images: int
    test_images: int
    test_batch: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    channels: int = 3
    size: int = 32
    pad: int = 4

    @property
    def train_source(self) -> str:
        return f"{self.source}:train"

    @property
    def test_source(self) -> str:
        return f"{self.source}:test"

    @property
    def distort_param(self) -> Mapping[str, object]:
        """The paper's phi: zero-pad, crop back to size, mirror; then normalise."""
        return {
            "pad": self.pad,
            "crop_size": self.size,
            "mirror": True,
            "mean_value": self.mean,
            "std_value": self.std,
        }

    @property
    def distortion(self) -> Mapping[str, object]:
        return {"distort_param": self.distort_param}


def _pixels(*fractions: float) -> tuple[float, ...]:
    return tuple(255 * fraction for fraction in fractions)


CIFAR100 = ImageSet(
    title="CIFAR-100",
    source="cifar100",
    train_images=50_000,
    test_images=10_000,
    test_batch=100,
    mean=_pixels(0.5071, 0.4865, 0.4409),
    std=_pixels(0.2673, 0.2564, 0.2762),
)

SYNTHETIC = ImageSet(
    title="synthetic images",
    source="synthetic",
    train_images=2_000,
    test_images=2_000,
    test_batch=100,
    mean=_pixels(0.5),
    std=_pixels(0.25),
)
