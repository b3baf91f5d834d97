"""The image sets of the recipes: where they come from, how large, how distorted. It reads no image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sdcaffe.proto.printing import Word


@dataclass(frozen=True)
class ImageSet:
    """An image set as nets and solvers need it.

    `mean` and `std` are in pixel units, one a channel, in the order of the channels, `order`; without `std`
    only the mean is subtracted. `size` is that of the crop. `database` is the kind of the sources, where they
    are no embedded set. `temperature` is the paper's T for the set. `further_distortion` is what Distort
    does beyond the paper's. A source that has one of `words` in its name is taken for the set.
    """

    title: str
    train_source: str
    test_source: str
    classes: int
    train_images: int
    test_images: int
    test_batch: int
    temperature: float
    mean: tuple[float, ...]
    std: tuple[float, ...] = ()
    channels: int = 3
    order: str = "red, green, blue"
    size: int = 32
    pad: int = 0
    database: str | None = None
    top_5: bool = False
    words: tuple[str, ...] = ()
    further_distortion: Mapping[str, object] = field(default_factory=dict, hash=False)

    def data_param(self, batch_size: int) -> Mapping[str, object]:
        """Where training images come from: an embedded set is shuffled, a database holds its own order."""
        param: dict[str, object] = {"source": self.train_source, "batch_size": batch_size}
        return param | ({"backend": Word(self.database)} if self.database else {"shuffle": True})

    def test_data_param(self) -> Mapping[str, object]:
        param: dict[str, object] = {"source": self.test_source, "batch_size": self.test_batch}
        return param | ({"backend": Word(self.database)} if self.database else {})

    @property
    def normalisation(self) -> Mapping[str, object]:
        return {"mean_value": self.mean} | ({"std_value": self.std} if self.std else {})

    @property
    def wanted_input(self) -> list[str]:
        """Lines for who feeds a deploy net."""
        what, numbers = ("(pixel - mean) / std", f"; std {_listed(self.std)}") if self.std else ("pixel - mean", "")
        return [
            f"The input is {what}, of pixels 0 to 255 in the order {self.order}, as Distort in train_val makes it:",
            f"mean {_listed(self.mean)}{numbers}.",
        ]

    @property
    def distort_param(self) -> Mapping[str, object]:
        """The paper's phi: zero-pad, crop to size, mirror; then normalise. And what is further asked for."""
        pad = {"pad": self.pad} if self.pad else {}
        return {**pad, "crop_size": self.size, "mirror": True, **self.normalisation, **self.further_distortion}

    @property
    def distortion(self) -> Mapping[str, object]:
        return {"distort_param": self.distort_param}


def _listed(numbers: tuple[float, ...]) -> str:
    return " ".join(f"{number:.10g}" for number in numbers)


def _pixels(*fractions: float) -> tuple[float, ...]:
    return tuple(255 * fraction for fraction in fractions)


CIFAR10 = ImageSet(
    title="CIFAR-10",
    train_source="cifar10:train",
    test_source="cifar10:test",
    classes=10,
    train_images=50_000,
    test_images=10_000,
    test_batch=100,
    temperature=2,
    mean=_pixels(0.4914, 0.4822, 0.4465),
    std=_pixels(0.2470, 0.2435, 0.2616),
    pad=4,
    words=("cifar10",),
)

CIFAR100 = ImageSet(
    title="CIFAR-100",
    train_source="cifar100:train",
    test_source="cifar100:test",
    classes=100,
    train_images=50_000,
    test_images=10_000,
    test_batch=100,
    temperature=3,
    mean=_pixels(0.5071, 0.4865, 0.4409),
    std=_pixels(0.2673, 0.2564, 0.2762),
    pad=4,
    words=("cifar100",),
)

# For the study: 20 images of each class to train with, all to test with.
CIFAR100_25TH = replace(CIFAR100, title="a 25th of CIFAR-100", train_source="cifar100:train/25", train_images=2_000)

# For the second study: 50 images of each class to train with, the same from every copy of the set; all to test with.
CIFAR100_50_EACH = replace(
    CIFAR100, title="50 images a class of CIFAR-100", train_source="cifar100:train=50", train_images=5_000
)

# Images of 256x256, channels in Caffe's order. The means are those of Caffe's own examples.
IMAGENET = ImageSet(
    title="ImageNet",
    train_source="data/ilsvrc12_train_lmdb",
    test_source="data/ilsvrc12_val_lmdb",
    classes=1000,
    train_images=1_281_167,
    test_images=50_000,
    test_batch=50,
    temperature=3,
    mean=(104, 117, 123),
    order="blue, green, red",
    size=224,
    database="LMDB",
    top_5=True,
    words=("imagenet", "ilsvrc"),
)

SYNTHETIC = ImageSet(
    title="synthetic images",
    train_source="synthetic:train",
    test_source="synthetic:test",
    classes=10,
    train_images=2_000,
    test_images=2_000,
    test_batch=100,
    temperature=2,
    mean=_pixels(0.5),
    std=_pixels(0.25),
    pad=4,
)

# Those that the paper has.
PUBLISHED = (CIFAR10, CIFAR100, IMAGENET)


def named(text: str) -> ImageSet | None:
    """The paper's image set that a text names, such as the path of a database: by its longest word."""
    plain = "".join(letter for letter in text.lower() if letter.isalnum())
    found = {word: images for images in PUBLISHED for word in images.words if word in plain}
    return found[max(found, key=len)] if found else None


def is_part(source: str) -> bool:
    """Whether a source takes some images of each class alone, as cifar100:train/25 and cifar100:train=50 do."""
    split, _, every = source.partition(":")[2].partition(":")[0].partition("/")
    some = split.partition("=")[0] in ("train", "test") and "=" in split
    return some or (split in ("train", "test") and every.lstrip("0") not in ("", "1"))
