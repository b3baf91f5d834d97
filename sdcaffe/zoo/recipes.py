"""How long and how fast the published runs train, as solver prototxt. The nets are not its business."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sdcaffe.zoo.datasets import ImageSet
from sdcaffe.zoo.mechanisms import WRITTEN_BY
from sdcaffe.zoo.text import Word, comment, fields


@dataclass(frozen=True)
class Recipe:
    """Nesterov with momentum 0.9, and a learning rate that falls by `gamma` after each epoch of `drops`."""

    batch_size: int
    epochs: int
    drops: tuple[int, ...]
    gamma: float
    base_lr: float
    weight_decay: float
    test_epochs: int
    snapshot_epochs: int
    display: int = 100
    mode: str = "GPU"

    def iterations(self, images: ImageSet, epochs: int) -> int:
        """How many batches make `epochs` passes; the last batch of the last one may be cut short."""
        return epochs * images.train_images // self.batch_size

    def solver(self, images: ImageSet, net: str, snapshot_prefix: str, head: Iterable[str]) -> str:
        """The solver of the net at path `net`, under a comment of the lines `head`."""
        message = {
            "net": net,
            "test_iter": images.test_images // images.test_batch,
            "test_interval": self.iterations(images, self.test_epochs),
            "test_initialization": False,
            "type": "Nesterov",
            "base_lr": self.base_lr,
            "lr_policy": "multistep",
            "gamma": self.gamma,
            "stepvalue": [self.iterations(images, epoch) for epoch in self.drops],
            "max_iter": self.iterations(images, self.epochs),
            "momentum": 0.9,
            "weight_decay": self.weight_decay,
            "display": self.display,
            "average_loss": self.display,
            "snapshot": self.iterations(images, self.snapshot_epochs),
            "snapshot_prefix": snapshot_prefix,
            "random_seed": 1,
            "solver_mode": Word(self.mode),
        }
        drops = ", ".join(map(str, self.drops))
        schedule = (
            f"{self.epochs} epochs in batches of {self.batch_size} images; the learning rate falls to "
            f"{self.gamma:g} of itself after epochs {drops}."
        )
        return comment([*head, schedule, WRITTEN_BY]) + "".join(f"{line}\n" for line in fields(message))


# The paper's for ResNet-32 and -110 and the pre-activation ResNets.
RESNET = Recipe(
    batch_size=64,
    epochs=200,
    drops=(60, 120, 180),
    gamma=0.1,
    base_lr=0.1,
    weight_decay=1e-4,
    test_epochs=4,
    snapshot_epochs=20,
)

# Ours: a minute of a small computer.
QUICKSTART = Recipe(
    batch_size=50,
    epochs=10,
    drops=(6, 8),
    gamma=0.1,
    base_lr=0.1,
    weight_decay=1e-4,
    test_epochs=2,
    snapshot_epochs=10,
    display=40,
    mode="CPU",
)
