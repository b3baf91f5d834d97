"""The ways to train a network alone: as it is, or with two branches that learn from each other.

A two-branch net is the plain net rewritten, by the rewrite that `sdcaffe self-distill` does on any net.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field

from sdcaffe import proto
from sdcaffe.paper import published
from sdcaffe.paper.datasets import ImageSet
from sdcaffe.paper.layers.kl_loss import Gradient
from sdcaffe.paper.networks.network import Heads, Network
from sdcaffe.paper.rewrite import Settings, Writer, rewritten
from sdcaffe.paper.separate import SeparateWriter, attacked
from sdcaffe.paper.text import Blob, NetText

WRITTEN_BY = "Written by `make prototxt`: change sdcaffe/paper, not this file."

Layers = Iterable[tuple[int, "proto.LayerParameter"]]  # each with the index of the plain net's that it comes from


@dataclass(frozen=True)
class Mechanism(ABC):
    """A way to train a network: `title` is what people call it, `file` names its files."""

    title: str
    file: str

    @property
    @abstractmethod
    def measures(self) -> str:
        """What compare calls it: as the paper's tables do, where they have it."""

    @property
    def peer(self) -> str:
        """The network that it trains with, as the paper's tables write it."""
        return ""

    @property
    def mu(self) -> float | None:
        """The weight of the MMD; None where the mechanism knows none."""
        return None

    @property
    def net_title(self) -> str:
        """What ends the name of its net, which others may use too."""
        return self.title

    @property
    def net_file(self) -> str:
        """What names the file of its net."""
        return self.file

    @property
    def stage(self) -> str:
        """The stage of the solver's train_state, if any."""
        return ""

    def distorted(self, images: ImageSet) -> ImageSet:
        """The images as it distorts them."""
        return images

    @abstractmethod
    def net(self, network: Network, images: ImageSet, batch_size: int) -> NetText:
        """The net that trains `network` so, and tests it."""

    def remarks(self, batch_size: int) -> list[str]:
        """What a reader of the net is to know."""
        return []

    @property
    def solver_remarks(self) -> list[str]:
        """What a reader of the solver is to know."""
        return []

    def train_val(self, network: Network, images: ImageSet, batch_size: int) -> str:
        """The net as text."""
        net = self.net(network, images, batch_size)
        return net.text([heading(network, images, self.net_title, net), *self.remarks(batch_size), WRITTEN_BY])


@dataclass(frozen=True)
class Baseline(Mechanism):
    """One distorted branch and the hard labels."""

    title: str = "baseline"
    file: str = "baseline"

    @property
    def measures(self) -> str:
        return published.BASELINE

    def net(self, network: Network, images: ImageSet, batch_size: int) -> NetText:
        net = NetText(f"{network.name} {images.title} {self.net_title}")
        data(net, images, batch_size)
        heads = network.build(net, Blob("data", images.channels))
        net.section("losses")
        net.layer("loss", "SoftmaxWithLoss", [heads.logits.name, "label"], ["loss"])
        accuracy(net, images, heads)
        return net


PARTS = {  # whether there is a loss on logits (KL), and one on features (MMD)
    (False, False): published.TWO_BRANCHES,
    (False, True): published.WITH_MMD,
    (True, False): published.WITH_KL,
    (True, True): published.SELF_DISTILLED,
}


@dataclass(frozen=True)
class TwoBranches(Mechanism):
    """Two distorted branches of every image through one network (Xu and Liu, AAAI 2019, Eq. 5).

    Both branches learn the hard labels; `kl_weight` is the paper's lambda, `mmd_weight` its mu. A weight of 0 leaves
    its loss out. The network takes both branches as one batch, so batch statistics are joint. `gradient` is the
    convention of the KL loss, which the paper leaves open.
    """

    kl_weight: float
    mmd_weight: float
    gradient: Gradient = field(default=Gradient.PRINTED, kw_only=True)

    @property
    def measures(self) -> str:
        return PARTS[bool(self.kl_weight), bool(self.mmd_weight)]

    @property
    def mu(self) -> float | None:
        return self.mmd_weight

    def writer(self, images: ImageSet) -> type[Writer]:
        return Writer

    def net(self, network: Network, images: ImageSet, batch_size: int) -> NetText:
        plain = Baseline().net(network, self.distorted(images), batch_size)
        settings = Settings(images.temperature, self.kl_weight, self.mmd_weight, gradient=self.gradient)
        found = rewritten(plain.net(), settings, self.writer(images))
        layers = self.edited(zip(found.origins, found.net.layer, strict=True))
        return plain.replaced(f"{network.name} {images.title} {self.net_title}", layers)

    def edited(self, layers: Layers) -> Layers:
        """What the mechanism changes in the two-branch net."""
        return layers

    def remarks(self, batch_size: int) -> list[str]:
        return [
            f"In training the network sees a batch of {2 * batch_size}: two distortions of each of "
            f"{batch_size} images, branches a and b."
        ]


@dataclass(frozen=True)
class MuByStage(TwoBranches):
    """One of several mu, `among`, in a net that holds them all: the stage of the solver's train_state chooses."""

    among: tuple[float, ...] = ()

    @property
    def net_title(self) -> str:
        return "self-distilled, mu by stage"

    @property
    def net_file(self) -> str:
        return "mu"

    @property
    def stage(self) -> str:
        return mu_stage(self.mmd_weight)

    def edited(self, layers: Layers) -> Layers:
        for origin, layer in layers:
            for mu in self.among if layer.type == "MMDLoss" else ():
                one = proto.LayerParameter()
                one.CopyFrom(layer)
                one.include[0].stage.append(mu_stage(mu))
                one.loss_weight[:] = [mu]
                yield origin, one
            if layer.type != "MMDLoss":
                yield origin, layer

    def remarks(self, batch_size: int) -> list[str]:
        stages = ", ".join(map(mu_stage, self.among))
        text = f"The stage of the solver's train_state chooses mu, the weight of the MMD: {stages}."
        return [*super().remarks(batch_size), text]


def mu_stage(mu: float) -> str:
    """The stage of a train_state that chooses `mu` among several."""
    return f"mu_{mu:g}"


@dataclass(frozen=True)
class SeparateBranches(TwoBranches):
    """The two branches through one set of parameters, each with batch statistics of its own.

    With `attack`, branch b is no second distortion but branch a's images moved by so many pixel values each, in the
    direction that raises branch a's loss.
    """

    attack: float = 0

    @property
    def measures(self) -> str:
        return f"{super().measures} + adversarial branch" if self.attack else super().measures

    def writer(self, images: ImageSet) -> type[Writer]:
        return attacked(images, self.attack) if self.attack else SeparateWriter

    def remarks(self, batch_size: int) -> list[str]:
        twice = "and attacked" if self.attack else "twice"
        return [
            f"In training each of {batch_size} images is distorted {twice}; branch b goes through the layers b_*,",
            "which share all parameters by name but normalise by their own batch.",
        ]


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
    head = heading(network, images, "deploy", net)
    return net.text([head, *(wanted_input or images.wanted_input), WRITTEN_BY])


def heading(network: Network, images: ImageSet, mechanism: str, net: NetText) -> str:
    return f"{network.name}, {images.title}, {mechanism}. {net.parameters:,} learned parameters."


def data(net: NetText, images: ImageSet, batch_size: int) -> None:
    """The layers of both phases that bring the images, `data`, and `label`."""
    net.section("data, raw pixels; Distort distorts in training and normalises always")
    train, test = {"data_param": images.data_param(batch_size)}, {"data_param": images.test_data_param()}
    net.layer("data", "Data", [], ["image", "label"], train, phase="TRAIN")
    net.layer("data", "Data", [], ["image", "label"], test, phase="TEST")
    net.layer("distort", "Distort", ["image"], ["data"], images.distortion)


def accuracy(net: NetText, images: ImageSet, heads: Heads) -> None:
    bottoms = [heads.logits.name, "label"]
    net.layer("accuracy", "Accuracy", bottoms, ["accuracy"], phase="TEST")
    if images.top_5:
        five = {"accuracy_param": {"top_k": 5}}
        net.layer("accuracy_top_5", "Accuracy", bottoms, ["accuracy_top_5"], five, phase="TEST")
