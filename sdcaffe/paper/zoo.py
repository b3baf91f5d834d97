"""The networks and recipes as Python that writes prototxt/. Training never imports it.

`make prototxt` writes every file; `files()` gives the same texts without writing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from sdcaffe.paper.beyond import BEYOND
from sdcaffe.paper.datasets import CIFAR10, CIFAR100, CIFAR100_25TH, IMAGENET, SYNTHETIC, ImageSet
from sdcaffe.paper.mechanisms import Baseline, SeparateBranches, TwoBranches, deploy, mu_stage, self_distilled
from sdcaffe.paper.networks.alexnet import AlexNet
from sdcaffe.paper.networks.densenet import DenseNet
from sdcaffe.paper.networks.imagenet_resnet import ImageNetResNet18
from sdcaffe.paper.networks.network import Mechanism, Network
from sdcaffe.paper.networks.preact_resnet import PreactResNet
from sdcaffe.paper.networks.resnet import ResNet
from sdcaffe.paper.networks.torchvision_nets import torchvision_deploys
from sdcaffe.paper.networks.wide_resnet import WideResNet
from sdcaffe.paper.recipes import ALEXNET, DENSENET, IMAGENET_RESNET, QUICKSTART, RESNET, STUDY, WIDE_RESNET, Recipe
from sdcaffe.paper.teaching import Peer, Teacher

__all__ = ["CIFAR_NETWORKS", "files"]

# Folder, the network for a number of classes, recipe: the paper's Table 3.
CIFAR_NETWORKS: list[tuple[str, Callable[[int], Network], Recipe]] = [
    ("resnet32", lambda classes: ResNet(32, classes), RESNET),
    ("resnet110", lambda classes: ResNet(110, classes), RESNET),
    ("preact_resnet18", lambda classes: PreactResNet(18, classes), RESNET),
    ("preact_resnet34", lambda classes: PreactResNet(34, classes), RESNET),
    ("wrn40_4", lambda classes: WideResNet(40, 4, classes), WIDE_RESNET),
    ("wrn16_8", lambda classes: WideResNet(16, 8, classes), WIDE_RESNET),
    ("wrn28_10", lambda classes: WideResNet(28, 10, classes), WIDE_RESNET),
    ("densenet40", lambda classes: DenseNet(40, classes), DENSENET),
    ("densenet100", lambda classes: DenseNet(100, classes), DENSENET),
]

MAIN: list[Mechanism] = [Baseline(), self_distilled()]

# The columns between of Table 6.
ABLATION: list[Mechanism] = [
    TwoBranches("two branches", "two_branch", kl_weight=0, mmd_weight=0),
    TwoBranches("two branches, MMD", "two_branch_mmd", kl_weight=0, mmd_weight=0.0005),
    TwoBranches("two branches, KL", "two_branch_kl", kl_weight=1, mmd_weight=0),
]

TEACHER = Teacher(WideResNet(28, 10, 100), "teacher_wrn28_10")
TEACHER_WEIGHTS = f"runs/cifar100/wrn28_10/baseline_iter_{WIDE_RESNET.max_iter}.caffemodel"

# The rows between of Table 1; and self-distillation with batch statistics for each branch.
RESNET32_ONLY: list[Mechanism] = [
    Peer(ResNet(32, 100), "peer_resnet32", prefix="peer_"),
    Peer(WideResNet(28, 10, 100), "peer_wrn28_10"),
    SeparateBranches("self-distilled, separate statistics", "separate_statistics", kl_weight=1, mmd_weight=0.0005),
]

# Table 5 but for 0, which is two_branch_kl, and 0.0005, which is self_distilled.
MUS = (0.0001, 0.001, 0.005, 0.01)
MU = TwoBranches("self-distilled, mu by stage", "mu", kl_weight=1, mmd_weight=MUS)


def files() -> dict[str, str]:
    """Every file of prototxt/: its path from the top of the repository, and its text."""
    small = ResNet(depth=8, classes=10, batch_norm_fraction=0.95)
    texts = _family("quickstart", small, SYNTHETIC, QUICKSTART)
    texts |= _study()
    for folder, images in (("cifar10", CIFAR10), ("cifar100", CIFAR100)):
        for name, network, recipe in CIFAR_NETWORKS:
            texts |= _family(f"{folder}/{name}", network(images.classes), images, recipe)
        projecting = ResNet(32, images.classes, projection=True)
        texts |= _family(f"{folder}/resnet32_projection", projecting, images, RESNET)
    resnet, folder = ResNet(32, 100), "cifar100/resnet32"
    texts |= _runs(folder, resnet, CIFAR100, RESNET, [*ABLATION, *RESNET32_ONLY, *BEYOND])
    texts |= _runs(folder, resnet, CIFAR100, RESNET, [TEACHER], TEACHER_WEIGHTS)
    texts |= _mu_runs(folder, resnet, CIFAR100, RESNET)
    texts |= _runs("cifar100/wrn16_8", WideResNet(16, 8, 100), CIFAR100, WIDE_RESNET, ABLATION)
    texts |= _family("imagenet/alexnet", AlexNet(), replace(IMAGENET, size=227), ALEXNET)
    texts |= _family("imagenet/resnet18", ImageNetResNet18(), IMAGENET, IMAGENET_RESNET)
    return texts | torchvision_deploys()


def _study() -> dict[str, str]:
    """The five mechanisms of the paper's Table 6 in a size for a CPU: not a setting of the paper's."""
    small = ResNet(depth=8, classes=100, batch_norm_fraction=0.95)
    texts = _family("study", small, CIFAR100_25TH, STUDY)
    return texts | _runs("study", small, CIFAR100_25TH, STUDY, ABLATION)


def _family(folder: str, network: Network, images: ImageSet, recipe: Recipe) -> dict[str, str]:
    """One network on one image set: a deploy net, and a net and a solver for each of the main mechanisms."""
    texts = {f"prototxt/{folder}/deploy.prototxt": deploy(network, images)}
    return texts | _runs(folder, network, images, recipe, MAIN)


def _runs(
    folder: str,
    network: Network,
    images: ImageSet,
    recipe: Recipe,
    mechanisms: Sequence[Mechanism],
    weights: str | None = None,
) -> dict[str, str]:
    """A train_val net and a solver for each mechanism; the solver starts from `weights`, if any."""
    texts = {}
    for mechanism in mechanisms:
        train_val = f"prototxt/{folder}/train_val_{mechanism.file}.prototxt"
        texts[train_val] = mechanism.train_val(network, images, recipe.batch_size)
        head = [f"{network.name}, {images.title}, {mechanism.title}."]
        prefix = f"runs/{folder}/{mechanism.file}"
        solver = recipe.solver(images, train_val, prefix, head, weights)
        texts[f"prototxt/{folder}/solver_{mechanism.file}.prototxt"] = solver
    return texts


def _mu_runs(folder: str, network: Network, images: ImageSet, recipe: Recipe) -> dict[str, str]:
    """One net that holds every mu of Table 5, and a solver for each."""
    train_val = f"prototxt/{folder}/train_val_{MU.file}.prototxt"
    texts = {train_val: MU.train_val(network, images, recipe.batch_size)}
    for mu in MUS:
        stage = mu_stage(mu)
        head = [f"{network.name}, {images.title}, self-distilled with mu {mu:g}."]
        solver = recipe.solver(images, train_val, f"runs/{folder}/{stage}", head, stage=stage)
        texts[f"prototxt/{folder}/solver_{stage}.prototxt"] = solver
    return texts
