"""The ways to train a network alone, as train_val and deploy nets: what feeds it and which losses it gets."""

from __future__ import annotations

from dataclasses import dataclass

from sdcaffe.paper.datasets import ImageSet
from sdcaffe.paper.networks.network import Heads, Network
from sdcaffe.paper.networks.tower import Tower
from sdcaffe.paper.text import Blob, NetText, Word

WRITTEN_BY = "Written by `make prototxt`: change sdcaffe/paper, not this file."


@dataclass(frozen=True)
class Baseline:
    """One distorted branch and the hard labels."""

    title = file = "baseline"

    def train_val(self, network: Network, images: ImageSet, batch_size: int) -> str:
        net = NetText(f"{network.name} {images.title} {self.title}")
        data(net, images, batch_size)
        net.layer("distort", "Distort", ["image"], ["data"], images.distortion)
        heads = network.build(net, Blob("data", images.channels))
        net.section("losses")
        net.layer("loss", "SoftmaxWithLoss", [heads.logits.name, "label"], ["loss"])
        accuracy(net, images, heads)
        return net.text([*title(network, images, self.title, net), WRITTEN_BY])


@dataclass(frozen=True)
class TwoBranches:
    """Two distorted branches of every image through one network (Xu and Liu, AAAI 2019, Eq. 5).

    Both branches learn the hard labels; `kl_weight` is the paper's lambda, `mmd_weight` its mu. A weight of
    0 leaves its loss out. With several weights mu, the solver's train_state chooses one by its stage, such as
    "mu_0.001". The trunk takes both branches as one batch, so batch statistics are joint.

    `mmd` names the loss that stands for the paper's MMD; with `mixup`, its alpha, both branches of the images are
    blended alike, and so are the labels.
    """

    title: str
    file: str
    kl_weight: float
    mmd_weight: float | tuple[float, ...]
    mmd: str = "MMDLoss"
    mixup: float = 0

    def train_val(self, network: Network, images: ImageSet, batch_size: int) -> str:
        net = NetText(f"{network.name} {images.title} {self.title}")
        data(net, images, batch_size)
        branches = ["data_a", "data_b"]
        net.layer("distort", "Distort", ["image"], branches, images.distortion, phase="TRAIN")
        label = "label"
        if self.mixup:
            blends, message = ["mixed_a", "mixed_b"], {"mixup_param": {"alpha": self.mixup}}
            net.layer("mixup", "Mixup", [*branches, label], [*blends, "mixed_label"], message, phase="TRAIN")
            branches, label = blends, "mixed_label"
        net.layer("both", "Concat", branches, ["data"], {"concat_param": {"axis": 0}}, phase="TRAIN")
        net.layer("distort", "Distort", ["image"], ["data"], images.distortion, phase="TEST")
        heads = network.build(net, Blob("data", images.channels))
        net.section("losses")
        if self.mmd_weight:
            _halves(net, "split_feature", heads.feature.name, "feature")
        _halves(net, "split_logits", heads.logits.name, "logits")
        features, logits = Pair("feature_a", "feature_b"), Pair("logits_a", "logits_b")
        for branch, blob in (("a", logits.a), ("b", logits.b)):
            _hard_labels(net, branch, blob, label)
        _between_branches(net, images, features, logits, self.kl_weight, self.mmd_weight, self.mmd)
        test_loss(net, heads)
        accuracy(net, images, heads)
        lines = [
            f"In training the network sees a batch of {2 * batch_size}: two distortions of each of "
            f"{batch_size} images, branches a and b."
        ]
        if isinstance(self.mmd_weight, tuple):
            stages = ", ".join(map(mu_stage, self.mmd_weight))
            lines.append(f"The stage of the solver's train_state chooses mu, the weight of the MMD: {stages}.")
        return net.text([*title(network, images, self.title, net), *lines, WRITTEN_BY])


@dataclass(frozen=True)
class SeparateBranches:
    """The two branches through one set of parameters, each with batch statistics of its own.

    Tower b shares every parameter of the network by name, stored batch statistics included: those then
    hold both branches, each step counting as two. With `attack`, branch b is no second distortion but branch a's
    images moved by so many pixel values each, in the direction that raises branch a's loss.
    """

    title: str
    file: str
    kl_weight: float
    mmd_weight: float
    attack: float = 0

    def train_val(self, network: Network, images: ImageSet, batch_size: int) -> str:
        net = NetText(f"{network.name} {images.title} {self.title}")
        data(net, images, batch_size)
        branches = ["data"] if self.attack else ["data", "data_b"]
        net.layer("distort", "Distort", ["image"], branches, images.distortion, phase="TRAIN")
        net.layer("distort", "Distort", ["image"], ["data"], images.distortion, phase="TEST")
        first = Tower(net, "branch a", shared=True)
        a = network.build(first, Blob("data", images.channels))
        if self.attack:
            net.section("branch b's images: those of branch a after a step up its loss")
            _hard_labels(net, "a", a.logits.name)
            std = {"std_value": images.std} if images.std else {}
            message = {"adversarial_param": {"epsilon": self.attack, **std}}
            net.layer("attack", "Adversarial", ["data", "loss_a"], ["data_b"], message, phase="TRAIN")
        second = Tower(net, "branch b", prefix="b_", phase="TRAIN", shared=True)
        b = second.outside(network.build(second, Blob("data_b", images.channels)))
        net.parameters = first.parameters
        net.section("losses")
        if not self.attack:
            _hard_labels(net, "a", a.logits.name)
        _hard_labels(net, "b", b.logits.name)
        features, logits = Pair(a.feature.name, b.feature.name), Pair(a.logits.name, b.logits.name)
        _between_branches(net, images, features, logits, self.kl_weight, self.mmd_weight)
        test_loss(net, a)
        accuracy(net, images, a)
        twice = "and attacked" if self.attack else "twice"
        return net.text(
            [
                *title(network, images, self.title, net),
                f"In training each of {batch_size} images is distorted {twice}; branch b goes through the layers b_*,",
                "which share all parameters by name but normalise by their own batch.",
                WRITTEN_BY,
            ]
        )


@dataclass(frozen=True)
class Pair:
    """The same blob of two branches, or of two networks."""

    a: str
    b: str


def self_distilled() -> TwoBranches:
    """The paper's mechanism with its lambda and its best mu (Table 5)."""
    return TwoBranches("self-distilled", "self_distilled", kl_weight=1, mmd_weight=0.0005)


def deploy(network: Network, images: ImageSet, wanted_input: list[str] | None = None) -> str:
    """A net from normalised images to probabilities, for the weights that any mechanism trained.

    As Caffe's deploy nets it holds Caffe's layers alone: what normalises the images is the caller, whom the lines
    `wanted_input` tell how; as in training, unless given.
    """
    net = NetText(f"{network.name} {images.title}")
    shape = {"dim": [1, images.channels, images.size, images.size]}
    net.layer("data", "Input", [], ["data"], {"input_param": {"shape": shape}})
    heads = network.build(net, Blob("data", images.channels))
    net.layer("prob", "Softmax", [heads.logits.name], ["prob"])
    return net.text([*title(network, images, "deploy", net), *(wanted_input or images.wanted_input), WRITTEN_BY])


def mu_stage(mu: float) -> str:
    """The stage of a train_state that chooses `mu` among several."""
    return f"mu_{mu:g}"


def title(network: Network, images: ImageSet, mechanism: str, net: NetText) -> list[str]:
    return [f"{network.name}, {images.title}, {mechanism}. {net.parameters:,} learned parameters."]


def data(net: NetText, images: ImageSet, batch_size: int) -> None:
    """The data layers of both phases: raw pixels `image`, and `label`."""
    net.section("data, raw pixels; Distort distorts in training and normalises always")
    train, test = {"data_param": images.data_param(batch_size)}, {"data_param": images.test_data_param()}
    net.layer("data", "Data", [], ["image", "label"], train, phase="TRAIN")
    net.layer("data", "Data", [], ["image", "label"], test, phase="TEST")


def test_loss(net: NetText, heads: Heads) -> None:
    net.layer("loss", "SoftmaxWithLoss", [heads.logits.name, "label"], ["loss"], phase="TEST")


def accuracy(net: NetText, images: ImageSet, heads: Heads) -> None:
    bottoms = [heads.logits.name, "label"]
    net.layer("accuracy", "Accuracy", bottoms, ["accuracy"], phase="TEST")
    if images.top_5:
        five = {"accuracy_param": {"top_k": 5}}
        net.layer("accuracy_top_5", "Accuracy", bottoms, ["accuracy_top_5"], five, phase="TEST")


def _halves(net: NetText, name: str, bottom: str, top: str) -> None:
    message = {"slice_param": {"axis": 0}}
    net.layer(name, "Slice", [bottom], [f"{top}_a", f"{top}_b"], message, phase="TRAIN")


def _hard_labels(net: NetText, branch: str, logits: str, label: str = "label") -> None:
    """The loss of one branch on the labels, or on Mixup's."""
    type_name = "SoftmaxWithLoss" if label == "label" else "MixupLoss"
    net.layer(f"loss_{branch}", type_name, [logits, label], [f"loss_{branch}"], phase="TRAIN")


def _between_branches(
    net: NetText,
    images: ImageSet,
    feature: Pair,
    logits: Pair,
    kl_weight: float,
    mmd_weight: float | tuple[float, ...],
    mmd: str = "MMDLoss",
) -> None:
    """What Eq. 5 adds to the hard labels, on the features and logits of two branches."""
    if kl_weight:
        message = {
            "loss_weight": kl_weight,
            "kl_loss_param": {"temperature": images.temperature, "gradient": Word("PRINTED")},
        }
        net.layer("kl", "KLLoss", [logits.a, logits.b], ["kl"], message, phase="TRAIN")
    bottoms = [feature.a, feature.b]
    if isinstance(mmd_weight, tuple):
        for mu in mmd_weight:
            include = {"phase": Word("TRAIN"), "stage": mu_stage(mu)}
            net.layer("mmd", mmd, bottoms, ["mmd"], {"include": include, "loss_weight": mu})
    elif mmd_weight:
        net.layer("mmd", mmd, bottoms, ["mmd"], {"loss_weight": mmd_weight}, phase="TRAIN")
