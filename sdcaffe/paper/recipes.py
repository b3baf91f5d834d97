"""What each training run of the project is: a network, an image set, a mechanism and a schedule, said here alone.

The files of prototxt/ are written from recipes (prototxts.py), the logs of runs are recognised by them (compare/), and
published tables are trained by them (reproduce/).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from sdcaffe.paper.beyond import BEYOND, Distorted
from sdcaffe.paper.datasets import CIFAR10, CIFAR100, CIFAR100_25TH, CIFAR100_50_EACH, IMAGENET, SYNTHETIC, ImageSet
from sdcaffe.paper.layers.kl_loss import Gradient
from sdcaffe.paper.mechanisms import (
    WRITTEN_BY,
    Baseline,
    Mechanism,
    MuByStage,
    SeparateBranches,
    TwoBranches,
    self_distilled,
)
from sdcaffe.paper.networks.alexnet import AlexNet
from sdcaffe.paper.networks.densenet import DenseNet
from sdcaffe.paper.networks.imagenet_resnet import ImageNetResNet18
from sdcaffe.paper.networks.network import Network
from sdcaffe.paper.networks.preact_resnet import PreactResNet
from sdcaffe.paper.networks.resnet import ResNet
from sdcaffe.paper.networks.wide_resnet import WideResNet
from sdcaffe.paper.schedules import (
    ALEXNET,
    DENSENET,
    IMAGENET_RESNET,
    QUICKSTART,
    RESNET,
    STUDY,
    STUDY2,
    STUDY2_2N,
    WIDE_RESNET,
    Schedule,
)
from sdcaffe.paper.teaching import Peer, PeerInTurn, Teacher
from sdcaffe.proto.printing import Word, comment, fields


@dataclass(frozen=True)
class Recipe:
    """One way to train one network on one image set; runs of it differ by their seeds.

    `title` is what the paper's tables call the network, `folder` the place of its files below prototxt/ and runs/.
    It starts from the weights that `teacher` ends with, if any. `seeds` is how many runs it is worth, unless one says.
    """

    folder: str
    title: str
    network: Network
    images: ImageSet
    mechanism: Mechanism
    schedule: Schedule
    teacher: Recipe | None = None
    seeds: int = 3

    @property
    def net_file(self) -> str:
        return f"prototxt/{self.folder}/train_val_{self.mechanism.net_file}.prototxt"

    @property
    def solver_file(self) -> str:
        return f"prototxt/{self.folder}/solver_{self.mechanism.file}.prototxt"

    @property
    def stages(self) -> list[str]:
        """Those of the solver's train_state."""
        return [self.mechanism.stage] if self.mechanism.stage else []

    @property
    def snapshot_prefix(self) -> str:
        return f"runs/{self.folder}/{self.mechanism.file}"

    @property
    def weights(self) -> str:
        """What a run ends with, where its seed is not in the name."""
        return f"{self.snapshot_prefix}_iter_{self.schedule.max_iter}.caffemodel"

    def net(self) -> str:
        """The train_val net as text."""
        return self.mechanism.train_val(self.network, self.images, self.schedule.batch_size)

    def solver(self) -> str:
        """The solver as text."""
        message = {
            "net": self.net_file,
            **({"train_state": {"stage": self.stages}} if self.stages else {}),
            **({"weights": self.teacher.weights} if self.teacher else {}),
            **self.schedule.solver(self.images),
            "snapshot_prefix": self.snapshot_prefix,
            "random_seed": 1,
            "solver_mode": Word(self.schedule.mode),
        }
        head = f"{self.network.name}, {self.images.title}, {self.mechanism.title}."
        told = comment([head, *self.mechanism.solver_remarks, self.schedule.words, WRITTEN_BY])
        return told + "".join(f"{line}\n" for line in fields(message))


# What the paper's tables call a network, its folder, the network for a number of classes, and its schedule: Table 3.
CIFAR_NETWORKS: list[tuple[str, str, Callable[[int], Network], Schedule]] = [
    ("ResNet-32", "resnet32", lambda classes: ResNet(32, classes), RESNET),
    ("ResNet-110", "resnet110", lambda classes: ResNet(110, classes), RESNET),
    ("pre-act ResNet-18", "preact_resnet18", lambda classes: PreactResNet(18, classes), RESNET),
    ("pre-act ResNet-34", "preact_resnet34", lambda classes: PreactResNet(34, classes), RESNET),
    ("WRN-40-4", "wrn40_4", lambda classes: WideResNet(40, 4, classes), WIDE_RESNET),
    ("WRN-16-8", "wrn16_8", lambda classes: WideResNet(16, 8, classes), WIDE_RESNET),
    ("WRN-28-10", "wrn28_10", lambda classes: WideResNet(28, 10, classes), WIDE_RESNET),
    ("DenseNet-40", "densenet40", lambda classes: DenseNet(40, classes), DENSENET),
    ("DenseNet-100", "densenet100", lambda classes: DenseNet(100, classes), DENSENET),
]

# The paper does not say which shortcuts its ResNet-32 has.
PROJECTING = ("ResNet-32", "resnet32_projection", lambda classes: ResNet(32, classes, projection=True), RESNET)

MAIN: list[Mechanism] = [Baseline(), self_distilled()]

# The columns between of Table 6.
ABLATION: list[Mechanism] = [
    TwoBranches("two branches", "two_branch", kl_weight=0, mmd_weight=0),
    TwoBranches("two branches, MMD", "two_branch_mmd", kl_weight=0, mmd_weight=0.0005),
    TwoBranches("two branches, KL", "two_branch_kl", kl_weight=1, mmd_weight=0),
]

# The rows between of Table 1; and self-distillation with batch statistics for each branch.
RESNET32_ONLY: list[Mechanism] = [
    Peer("with peer ResNet-32", "peer_resnet32", ResNet(32, 100), prefix="peer_"),
    Peer("with peer WRN-28-10", "peer_wrn28_10", WideResNet(28, 10, 100)),
    SeparateBranches("self-distilled, separate statistics", "separate_statistics", kl_weight=1, mmd_weight=0.0005),
]

# Table 5 but for 0, which is two_branch_kl, and 0.0005, which is self_distilled.
MUS = (0.0001, 0.001, 0.005, 0.01)
BY_MU: list[Mechanism] = [
    MuByStage(f"self-distilled with mu {mu:g}", f"mu_{mu:g}", kl_weight=1, mmd_weight=mu, among=MUS) for mu in MUS
]

# The second study: Table 6's mechanisms, at a mu where MMD's gradient is seen and at the paper's, and with the KL loss
# of both conventions; and as many different images a step as two branches take. Half of them with seeds enough for half
# a point of error to show.
STUDY2_ARMS: list[tuple[Mechanism, Schedule, int]] = [
    (Baseline(), STUDY2, 16),
    (Baseline("baseline of 2n images", "baseline_2n"), STUDY2_2N, 5),
    (TwoBranches("two branches", "two_branch", 0, 0), STUDY2, 16),
    (TwoBranches("two branches, MMD", "two_branch_mmd", 0, 0.1), STUDY2, 5),
    (TwoBranches("two branches, MMD with the paper's mu", "two_branch_mmd_paper", 0, 0.0005), STUDY2, 5),
    (TwoBranches("two branches, KL as printed", "two_branch_kl", 1, 0), STUDY2, 16),
    (TwoBranches("two branches, KL of Hinton", "two_branch_kl_hinton", 1, 0, gradient=Gradient.HINTON), STUDY2, 16),
    (TwoBranches("self-distilled, KL of Hinton", "self_distilled", 1, 0.1, gradient=Gradient.HINTON), STUDY2, 5),
]

# What the paper leaves open, each in the choice that is not made elsewhere, in the setting of the second study. The
# convention of the KL loss has its arms there.
OPEN_QUESTIONS: list[Mechanism] = [
    SeparateBranches("self-distilled, separate statistics", "separate_statistics", 1, 0.1, gradient=Gradient.HINTON),
    Distorted(
        "self-distilled, padded with the mean",
        "pad_normalized",
        1,
        0.1,
        {"pad_stage": Word("NORMALIZED")},
        gradient=Gradient.HINTON,
    ),
]

SMALL = "ResNet-8"
RESNET8 = ResNet(depth=8, classes=10, batch_norm_fraction=0.95)

# The same of Table 1's other rows, in the quickstart's setting: each row in both choices.
TAUGHT_TEACHER = replace(RESNET8, depth=14, prefix="teacher_")
TAUGHT: list[Mechanism] = [
    Peer("peers together", "peer", RESNET8, prefix="peer_"),
    PeerInTurn("peers in turn", "peer_in_turn", RESNET8, prefix="peer_"),
]
TAUGHT_BY_TEACHER: list[Mechanism] = [
    Teacher("taught, KL of Hinton", "taught", TAUGHT_TEACHER),
    Teacher("taught, KL as printed", "taught_printed", TAUGHT_TEACHER, Gradient.PRINTED),
]


def _each(first: Recipe, mechanisms: Iterable[Mechanism]) -> list[Recipe]:
    return [replace(first, mechanism=mechanism) for mechanism in mechanisms]


def _cifar() -> list[Recipe]:
    """The paper's CIFAR runs; those of several mechanisms begin with the two that every network has."""
    found: list[Recipe] = []
    for images in (CIFAR10, CIFAR100):
        set_folder = images.title.lower().replace("-", "")
        for title, name, network, schedule in (*CIFAR_NETWORKS, PROJECTING):
            first = Recipe(f"{set_folder}/{name}", title, network(images.classes), images, Baseline(), schedule)
            found += _each(first, MAIN)
    baselines = {recipe.folder: recipe for recipe in found if isinstance(recipe.mechanism, Baseline)}
    resnet = baselines["cifar100/resnet32"]
    found += _each(resnet, [*ABLATION, *RESNET32_ONLY, *BEYOND, *BY_MU])
    wide = baselines["cifar100/wrn28_10"]
    taught = Teacher("taught by WRN-28-10", "teacher_wrn28_10", wide.network)
    found.append(replace(resnet, mechanism=taught, teacher=wide))
    return found + _each(baselines["cifar100/wrn16_8"], ABLATION)


def _imagenet() -> list[Recipe]:
    alexnet = Recipe("imagenet/alexnet", "AlexNet", AlexNet(), replace(IMAGENET, size=227), Baseline(), ALEXNET)
    resnet = Recipe("imagenet/resnet18", "ResNet-18", ImageNetResNet18(), IMAGENET, Baseline(), IMAGENET_RESNET)
    return [*_each(alexnet, MAIN), *_each(resnet, MAIN)]


def _small() -> list[Recipe]:
    """Ours, for a CPU: the quickstart, and Table 6's mechanisms in two studies."""
    quickstart = Recipe("quickstart", SMALL, RESNET8, SYNTHETIC, Baseline(), QUICKSTART)
    taught = replace(quickstart, folder="quickstart_taught", seeds=5)
    teacher = replace(taught, folder="quickstart_teacher", title=TAUGHT_TEACHER.name, network=TAUGHT_TEACHER)
    study = Recipe("study", SMALL, replace(RESNET8, classes=100), CIFAR100_25TH, Baseline(), STUDY)
    wider = replace(RESNET8, classes=100, width=32, stem_stride=2)
    first = Recipe("study2", wider.name, wider, CIFAR100_50_EACH, Baseline(), STUDY2)
    second = [replace(first, mechanism=arm, schedule=schedule, seeds=seeds) for arm, schedule, seeds in STUDY2_ARMS]
    return [
        *_each(quickstart, [*MAIN[:1], ABLATION[0], *MAIN[1:]]),
        *_each(taught, TAUGHT),
        teacher,
        *_each(replace(taught, teacher=teacher), TAUGHT_BY_TEACHER),
        *_each(study, [*MAIN[:1], *ABLATION, *MAIN[1:]]),
        *second,
        *_each(replace(first, folder="open_questions", seeds=5), OPEN_QUESTIONS),
    ]


RECIPES: tuple[Recipe, ...] = (*_small(), *_cifar(), *_imagenet())
