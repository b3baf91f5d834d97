"""The ways to train a network alone, as train_val and deploy nets: what feeds it and which losses it gets."""

from __future__ import annotations

from dataclasses import dataclass

from sdcaffe.zoo.datasets import ImageSet
from sdcaffe.zoo.network import Heads, Network
from sdcaffe.zoo.text import Blob, NetText, Word
from sdcaffe.zoo.tower import Tower

WRITTEN_BY = "Written by `python -m sdcaffe.zoo`: change sdcaffe/zoo, not this file."


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
    """

    title: str
    file: str
    kl_weight: float
    mmd_weight: float | tuple[float, ...]

    def train_val(self, network: Network, images: ImageSet, batch_size: int) -> str:
        net = NetText(f"{network.name} {images.title} {self.title}")
        data(net, images, batch_size)
        branches = ["data_a", "data_b"]
        net.layer("distort", "Distort", ["image"], branches, images.distortion, phase="TRAIN")
        net.layer("both", "Concat", branches, ["data"], {"concat_param": {"axis": 0}}, phase="TRAIN")
        net.layer("distort", "Distort", ["image"], ["data"], images.distortion, phase="TEST")
        heads = network.build(net, Blob("data", images.channels))
        net.section("losses")
        if self.mmd_weight:
            _halves(net, "split_feature", heads.feature.name, "feature")
        _halves(net, "split_logits", heads.logits.name, "logits")
        _branch_losses(net, images, Pair("feature_a", "feature_b"), Pair("logits_a", "logits_b"), self)
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
    hold both branches, each step counting as two.
    """

    title: str
    file: str
    kl_weight: float
    mmd_weight: float

    def train_val(self, network: Network, images: ImageSet, batch_size: int) -> str:
        net = NetText(f"{network.name} {images.title} {self.title}")
        data(net, images, batch_size)
        net.layer("distort", "Distort", ["image"], ["data", "data_b"], images.distortion, phase="TRAIN")
        net.layer("distort", "Distort", ["image"], ["data"], images.distortion, phase="TEST")
        first = Tower(net, "branch a", shared=True)
        a = network.build(first, Blob("data", images.channels))
        second = Tower(net, "branch b", prefix="b_", phase="TRAIN", shared=True)
        b = second.outside(network.build(second, Blob("data_b", images.channels)))
        net.parameters = first.parameters
        net.section("losses")
        features, logits = Pair(a.feature.name, b.feature.name), Pair(a.logits.name, b.logits.name)
        _branch_losses(net, images, features, logits, self)
        test_loss(net, a)
        accuracy(net, images, a)
        return net.text(
            [
                *title(network, images, self.title, net),
                f"In training each of {batch_size} images is distorted twice; branch b goes through the layers b_*,",
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


def deploy(network: Network, images: ImageSet) -> str:
    """A net from normalised images to probabilities, for the weights that any mechanism trained.

    As Caffe's deploy nets it holds Caffe's layers alone: what normalises the images is the caller.
    """
    net = NetText(f"{network.name} {images.title}")
    shape = {"dim": [1, images.channels, images.size, images.size]}
    net.layer("data", "Input", [], ["data"], {"input_param": {"shape": shape}})
    heads = network.build(net, Blob("data", images.channels))
    net.layer("prob", "Softmax", [heads.logits.name], ["prob"])
    return net.text([*title(network, images, "deploy", net), *images.wanted_input, WRITTEN_BY])


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


def _branch_losses(
    net: NetText, images: ImageSet, feature: Pair, logits: Pair, weights: TwoBranches | SeparateBranches
) -> None:
    """Eq. 5 on the features and logits of two branches."""
    net.layer("loss_a", "SoftmaxWithLoss", [logits.a, "label"], ["loss_a"], phase="TRAIN")
    net.layer("loss_b", "SoftmaxWithLoss", [logits.b, "label"], ["loss_b"], phase="TRAIN")
    if weights.kl_weight:
        message = {
            "loss_weight": weights.kl_weight,
            "kl_loss_param": {"temperature": images.temperature, "gradient": Word("PRINTED")},
        }
        net.layer("kl", "KLLoss", [logits.a, logits.b], ["kl"], message, phase="TRAIN")
    bottoms = [feature.a, feature.b]
    if isinstance(weights.mmd_weight, tuple):
        for mu in weights.mmd_weight:
            include = {"phase": Word("TRAIN"), "stage": mu_stage(mu)}
            net.layer("mmd", "MMDLoss", bottoms, ["mmd"], {"include": include, "loss_weight": mu})
    elif weights.mmd_weight:
        net.layer("mmd", "MMDLoss", bottoms, ["mmd"], {"loss_weight": weights.mmd_weight}, phase="TRAIN")
