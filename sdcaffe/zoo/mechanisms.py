"""The ways to train a network, as train_val and deploy nets: what feeds it and which losses it gets."""

from __future__ import annotations

from dataclasses import dataclass

from sdcaffe.zoo.datasets import ImageSet
from sdcaffe.zoo.network import Heads, Network
from sdcaffe.zoo.text import Blob, NetText, Word

WRITTEN_BY = "Written by `python -m sdcaffe.zoo`: change sdcaffe/zoo, not this file."


@dataclass(frozen=True)
class Baseline:
    """One distorted branch and the hard labels."""

    title = "baseline"

    def train_val(self, network: Network, images: ImageSet, batch_size: int) -> str:
        net = NetText(f"{network.name} {images.title} {self.title}")
        _data(net, images, batch_size)
        net.layer("distort", "Distort", ["image"], ["data"], images.distortion)
        heads = network.build(net, Blob("data", images.channels))
        net.section("losses")
        net.layer("loss", "SoftmaxWithLoss", [heads.logits.name, "label"], ["loss"])
        _accuracy(net, heads)
        return net.text([*_title(network, images, self.title, net), WRITTEN_BY])


@dataclass(frozen=True)
class TwoBranches:
    """Two distorted branches of every image through one network (Xu and Liu, AAAI 2019, Eq. 5).

    Both branches learn the hard labels; `kl_weight` is the paper's lambda, `mmd_weight` its mu. A weight of
    0 leaves its loss out. The trunk takes both branches as one batch, so batch statistics are joint.
    """

    title: str
    kl_weight: float
    mmd_weight: float
    temperature: float

    def train_val(self, network: Network, images: ImageSet, batch_size: int) -> str:
        net = NetText(f"{network.name} {images.title} {self.title}")
        _data(net, images, batch_size)
        self._branches(net, images)
        heads = network.build(net, Blob("data", images.channels))
        self._losses(net, heads)
        return net.text(
            [
                *_title(network, images, self.title, net),
                f"In training the network sees a batch of {2 * batch_size}: two distortions of each of "
                f"{batch_size} images, branches a and b.",
                WRITTEN_BY,
            ]
        )

    def _branches(self, net: NetText, images: ImageSet) -> None:
        branches = ["data_a", "data_b"]
        net.layer("distort", "Distort", ["image"], branches, images.distortion, phase="TRAIN")
        net.layer("both", "Concat", branches, ["data"], {"concat_param": {"axis": 0}}, phase="TRAIN")
        net.layer("distort", "Distort", ["image"], ["data"], images.distortion, phase="TEST")

    def _losses(self, net: NetText, heads: Heads) -> None:
        net.section("losses")
        if self.mmd_weight:
            _halves(net, "split_feature", heads.feature.name, "feature")
        _halves(net, "split_logits", heads.logits.name, "logits")
        for branch in "ab":
            loss = f"loss_{branch}"
            net.layer(loss, "SoftmaxWithLoss", [f"logits_{branch}", "label"], [loss], phase="TRAIN")
        if self.kl_weight:
            message = {
                "loss_weight": self.kl_weight,
                "kl_loss_param": {"temperature": self.temperature, "gradient": Word("PRINTED")},
            }
            net.layer("kl", "KLLoss", ["logits_a", "logits_b"], ["kl"], message, phase="TRAIN")
        if self.mmd_weight:
            weight = {"loss_weight": self.mmd_weight}
            net.layer("mmd", "MMDLoss", ["feature_a", "feature_b"], ["mmd"], weight, phase="TRAIN")
        net.layer("loss", "SoftmaxWithLoss", [heads.logits.name, "label"], ["loss"], phase="TEST")
        _accuracy(net, heads)


def self_distilled(temperature: float) -> TwoBranches:
    """The paper's mechanism with its lambda and its best mu (Table 5)."""
    return TwoBranches("self-distilled", kl_weight=1, mmd_weight=0.0005, temperature=temperature)


def deploy(network: Network, images: ImageSet) -> str:
    """A net from raw pixels to probabilities, for the weights that any mechanism trained."""
    net = NetText(f"{network.name} {images.title}")
    shape = {"dim": [1, images.channels, images.size, images.size]}
    net.layer("data", "Input", [], ["data"], {"input_param": {"shape": shape}})
    normalisation = {name: images.distort_param[name] for name in ("mean_value", "std_value")}
    net.layer("distort", "Distort", ["data"], ["normalised"], {"distort_param": normalisation})
    heads = network.build(net, Blob("normalised", images.channels))
    net.layer("prob", "Softmax", [heads.logits.name], ["prob"])
    return net.text(
        [
            *_title(network, images, "deploy", net),
            "The bottom of Distort is raw pixels, 0 to 255; outside training it normalises and no more.",
            WRITTEN_BY,
        ]
    )


def _title(network: Network, images: ImageSet, mechanism: str, net: NetText) -> list[str]:
    return [f"{network.name}, {images.title}, {mechanism}. {net.parameters:,} learned parameters."]


def _data(net: NetText, images: ImageSet, batch_size: int) -> None:
    net.section("data, raw pixels; Distort distorts in training and normalises always")
    train = {"source": images.train_source, "batch_size": batch_size, "shuffle": True}
    test = {"source": images.test_source, "batch_size": images.test_batch}
    net.layer("data", "Data", [], ["image", "label"], {"data_param": train}, phase="TRAIN")
    net.layer("data", "Data", [], ["image", "label"], {"data_param": test}, phase="TEST")


def _halves(net: NetText, name: str, bottom: str, top: str) -> None:
    message = {"slice_param": {"axis": 0}}
    net.layer(name, "Slice", [bottom], [f"{top}_a", f"{top}_b"], message, phase="TRAIN")


def _accuracy(net: NetText, heads: Heads) -> None:
    net.layer("accuracy", "Accuracy", [heads.logits.name, "label"], ["accuracy"], phase="TEST")
