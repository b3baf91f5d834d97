"""How long and how fast the published runs train, as solver prototxt. The nets are not its business."""

from __future__ import annotations

from dataclasses import dataclass

from sdcaffe.net.precision import BF16, FP32
from sdcaffe.paper.datasets import CIFAR100, CIFAR100_25TH, CIFAR100_50_EACH, SYNTHETIC, ImageSet
from sdcaffe.proto.printing import Message


@dataclass(frozen=True)
class Schedule:
    """Nesterov with momentum 0.9, and a learning rate that falls by `gamma` after each iteration of `drops`.

    `batch_size` counts images before the two branches; `words` say the same. What is `ours` is not said in the paper,
    named as in compare/form.py. With `metrics` each test says what its predictions are worth.
    """

    batch_size: int
    max_iter: int
    drops: tuple[int, ...]
    gamma: float
    base_lr: float
    weight_decay: float
    test_interval: int
    snapshot: int
    words: str
    display: int = 100
    mode: str = "GPU"
    ours: frozenset[str] = frozenset()
    precision: str = FP32
    metrics: bool = False

    def solver(self, images: ImageSet) -> Message:
        """The solver's fields that are the schedule's, in the order in which they are written."""
        return {
            "test_iter": images.test_images // images.test_batch,
            "test_interval": self.test_interval,
            "test_initialization": False,
            "type": "Nesterov",
            "base_lr": self.base_lr,
            "lr_policy": "multistep",
            "gamma": self.gamma,
            "stepvalue": self.drops,
            "max_iter": self.max_iter,
            "momentum": 0.9,
            "weight_decay": self.weight_decay,
            "display": self.display,
            "average_loss": self.display,
            "snapshot": self.snapshot,
            **({"precision": self.precision} if self.precision != FP32 else {}),
            **({"test_metrics": True} if self.metrics else {}),
        }


def _in_epochs(
    images: ImageSet,
    *,
    batch_size: int,
    epochs: int,
    drops: tuple[int, ...],
    gamma: float,
    weight_decay: float,
    test_epochs: int,
    snapshot_epochs: int,
    display: int = 100,
    mode: str = "GPU",
    precision: str = FP32,
    metrics: bool = False,
) -> Schedule:
    """A schedule given in epochs: so many batches make so many passes, the last batch of the last one cut short."""

    def iterations(epochs: int) -> int:
        return epochs * images.train_images // batch_size

    return Schedule(
        batch_size,
        max_iter=iterations(epochs),
        drops=tuple(map(iterations, drops)),
        gamma=gamma,
        base_lr=0.1,
        weight_decay=weight_decay,
        test_interval=iterations(test_epochs),
        snapshot=iterations(snapshot_epochs),
        words=(
            f"{epochs} epochs in batches of {batch_size} images; the learning rate falls to "
            f"{gamma:g} of itself after epochs {', '.join(map(str, drops))}."
        ),
        display=display,
        mode=mode,
        precision=precision,
        metrics=metrics,
    )


# The paper's for ResNet-32 and -110 and the pre-activation ResNets.
RESNET = _in_epochs(
    CIFAR100,
    batch_size=64,
    epochs=200,
    drops=(60, 120, 180),
    gamma=0.1,
    weight_decay=1e-4,
    test_epochs=4,
    snapshot_epochs=20,
)

# The paper's for WRN-40-4, -16-8 and -28-10.
WIDE_RESNET = _in_epochs(
    CIFAR100,
    batch_size=128,
    epochs=200,
    drops=(60, 120, 180),
    gamma=0.2,
    weight_decay=5e-4,
    test_epochs=8,
    snapshot_epochs=40,
)

# The paper's for DenseNet-40 and -100: drops at 50% and 75%.
DENSENET = _in_epochs(
    CIFAR100,
    batch_size=64,
    epochs=300,
    drops=(150, 225),
    gamma=0.1,
    weight_decay=1e-4,
    test_epochs=4,
    snapshot_epochs=20,
)

# For ImageNet the paper says "as in the original papers". Krizhevsky et al. and He et al. lower the rate when
# the error stands still; the drops are at even distances, for AlexNet those of Caffe's own example.
ALEXNET = Schedule(
    batch_size=256,
    max_iter=450_000,
    drops=(100_000, 200_000, 300_000, 400_000),
    gamma=0.1,
    base_lr=0.01,
    weight_decay=5e-4,
    test_interval=5_000,
    snapshot=10_000,
    words="About 90 epochs in batches of 256 images; the learning rate falls to a tenth every 100,000 iterations.",
    ours=frozenset({"batch", "drops", "gamma"}),
)
IMAGENET_RESNET = Schedule(
    batch_size=256,
    max_iter=600_000,
    drops=(150_000, 300_000, 450_000),
    gamma=0.1,
    base_lr=0.1,
    weight_decay=1e-4,
    test_interval=5_000,
    snapshot=10_000,
    words="About 120 epochs in batches of 256 images; the learning rate falls to a tenth every 150,000 iterations.",
    ours=frozenset({"drops", "gamma"}),
)

# Ours: a minute of a small computer.
QUICKSTART = _in_epochs(
    SYNTHETIC,
    batch_size=50,
    epochs=10,
    drops=(6, 8),
    gamma=0.1,
    weight_decay=1e-4,
    test_epochs=2,
    snapshot_epochs=10,
    display=40,
    mode="CPU",
)

# Ours: RESNET's schedule with every number of epochs divided by five, for a CPU.
STUDY = _in_epochs(
    CIFAR100_25TH,
    batch_size=64,
    epochs=40,
    drops=(12, 24, 36),
    gamma=0.1,
    weight_decay=1e-4,
    test_epochs=8,
    snapshot_epochs=8,
    display=50,
    mode="CPU",
)


def _study2(batch_size: int, epochs: int) -> Schedule:
    """Ours: a tenth after 50 and 75 %, one test, at the end. So that a run takes minutes of one thread."""
    return _in_epochs(
        CIFAR100_50_EACH,
        batch_size=batch_size,
        epochs=epochs,
        drops=(epochs // 2, 3 * epochs // 4),
        gamma=0.1,
        weight_decay=5e-4,
        test_epochs=epochs,
        snapshot_epochs=epochs,
        display=125,
        mode="CPU",
        precision=BF16,
        metrics=True,
    )


# The second with as many images a step as two branches have, so as many steps and as much compute.
STUDY2, STUDY2_2N = _study2(64, 40), _study2(128, 80)
