"""Training with a second network beside the first: a frozen teacher, or a peer that learns as well."""

from __future__ import annotations

from dataclasses import dataclass

from sdcaffe.paper.datasets import ImageSet
from sdcaffe.paper.mechanisms import WRITTEN_BY, accuracy, data, test_loss, title
from sdcaffe.paper.networks.network import Heads, Network
from sdcaffe.paper.networks.tower import Tower
from sdcaffe.paper.text import Blob, NetText, Word


@dataclass(frozen=True)
class Teacher:
    """The hard labels, and the softened predictions of a trained network that stays as it is.

    The second is Hinton et al.'s loss (2015), T^2 D(teacher || student), with weight 1 as in the paper's Eq. 5.
    The teacher's weights come from the solver's `weights`, by its own layer names.
    """

    teacher: Network
    file: str

    @property
    def title(self) -> str:
        return f"taught by {self.teacher.name}"

    def train_val(self, network: Network, images: ImageSet, batch_size: int) -> str:
        net, heads = _with_data(network, images, batch_size, self.title)
        tower = Tower(net, f"teacher {self.teacher.name}", phase="TRAIN", frozen=True)
        teacher = tower.outside(self.teacher.build(tower, Blob("data", images.channels)))
        net.section("losses")
        _hard_labels(net, "loss", heads)
        softened = {
            "temperature": images.temperature,
            "gradient": Word("HINTON"),
            "one_sided": True,
        }
        bottoms = [heads.logits.name, teacher.logits.name]
        net.layer("kl", "KLLoss", bottoms, ["kl"], {"loss_weight": 1, "kl_loss_param": softened}, phase="TRAIN")
        lines = [f"The teacher {self.teacher.name} exists in training only; the solver names the file of its weights."]
        return _tested(net, network, images, self.title, heads, lines)


@dataclass(frozen=True)
class Peer:
    """Deep mutual learning (Zhang et al., 2018): two networks, each with the hard labels and the other's predictions.

    D(p2 || p1) reaches only the logits of network 1 and D(p1 || p2) those of network 2, each with its target
    constant and without temperature: KLLoss at temperature 1, where its conventions agree. Each network
    has batch statistics of its own. Both learn in one step. `prefix` keeps the peer's names apart.
    """

    peer: Network
    file: str
    prefix: str = ""

    @property
    def title(self) -> str:
        return f"with peer {self.peer.name}"

    def train_val(self, network: Network, images: ImageSet, batch_size: int) -> str:
        net, heads = _with_data(network, images, batch_size, self.title)
        tower = Tower(net, f"peer {self.peer.name}", prefix=self.prefix, phase="TRAIN")
        peer = tower.outside(self.peer.build(tower, Blob("data", images.channels)))
        net.section("losses")
        _hard_labels(net, "loss", heads)
        _hard_labels(net, "peer_loss", peer)
        mutual = {"temperature": 1, "gradient": Word("EXACT")}
        bottoms = [heads.logits.name, peer.logits.name]
        net.layer("kl", "KLLoss", bottoms, ["kl"], {"loss_weight": 1, "kl_loss_param": mutual}, phase="TRAIN")
        lines = [f"The peer {self.peer.name} learns beside it, in training only."]
        return _tested(net, network, images, self.title, heads, lines)


def _with_data(network: Network, images: ImageSet, batch_size: int, mechanism: str) -> tuple[NetText, Heads]:
    net = NetText(f"{network.name} {images.title} {mechanism}")
    data(net, images, batch_size)
    net.layer("distort", "Distort", ["image"], ["data"], images.distortion)
    return net, network.build(net, Blob("data", images.channels))


def _hard_labels(net: NetText, name: str, heads: Heads) -> None:
    net.layer(name, "SoftmaxWithLoss", [heads.logits.name, "label"], [name], phase="TRAIN")


def _tested(net: NetText, network: Network, images: ImageSet, mechanism: str, heads: Heads, lines: list[str]) -> str:
    test_loss(net, heads)
    accuracy(net, images, heads)
    return net.text([*title(network, images, mechanism, net), *lines, WRITTEN_BY])
