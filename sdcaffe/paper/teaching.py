"""Training with a second network beside the first: a frozen teacher, or a peer that learns as well."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sdcaffe import proto
from sdcaffe.paper import published
from sdcaffe.paper.datasets import ImageSet
from sdcaffe.paper.layers.kl_loss import Gradient
from sdcaffe.paper.mechanisms import Mechanism, accuracy, data
from sdcaffe.paper.networks.network import Heads, Network
from sdcaffe.paper.text import Blob, NetText
from sdcaffe.paper.towers import as_resting, tower
from sdcaffe.proto.printing import Message, Word


@dataclass(frozen=True)
class Teacher(Mechanism):
    """The hard labels, and the softened predictions of a trained network that stays as it is.

    The second is Hinton et al.'s loss (2015), T^2 D(teacher || student), with weight 1 as in the paper's Eq. 5;
    or that of another convention, `gradient`. The teacher's weights come from the solver's `weights`, by its own
    layer names.
    """

    teacher: Network
    gradient: Gradient = Gradient.HINTON

    @property
    def measures(self) -> str:
        return published.TEACHER

    @property
    def peer(self) -> str:
        return self.teacher.name

    def net(self, network: Network, images: ImageSet, batch_size: int) -> NetText:
        net, heads, teacher = _two_networks(self, network, images, batch_size, self.teacher, "teacher", frozen=True)
        _hard_labels(net, "loss", heads)
        softened = {"temperature": images.temperature, "gradient": Word(self.gradient.name), "one_sided": True}
        return _tested(net, images, heads, teacher, softened)

    def remarks(self, batch_size: int) -> list[str]:
        return [f"The teacher {self.peer} exists in training only; the solver names the file of its weights."]


@dataclass(frozen=True)
class Peer(Mechanism):
    """Deep mutual learning (Zhang et al., 2018): two networks, each with the hard labels and the other's predictions.

    D(p2 || p1) reaches only the logits of network 1 and D(p1 || p2) those of network 2, each with its target
    constant and without temperature: KLLoss at temperature 1, where its conventions agree. Each network
    has batch statistics of its own. Both learn in one step. `prefix` keeps the peer's names apart.
    """

    other: Network
    prefix: str = ""

    @property
    def measures(self) -> str:
        return published.STUDENT

    @property
    def peer(self) -> str:
        return self.other.name

    def net(self, network: Network, images: ImageSet, batch_size: int) -> NetText:
        net, heads, peer = _two_networks(self, network, images, batch_size, self.other, "peer", self.prefix)
        _hard_labels(net, "loss", heads)
        _hard_labels(net, "peer_loss", peer)
        return _tested(net, images, heads, peer, {"temperature": 1, "gradient": Word("EXACT")})

    def remarks(self, batch_size: int) -> list[str]:
        return [f"The peer {self.peer} learns beside it, in training only."]


@dataclass(frozen=True)
class PeerInTurn(Peer):
    """Mutual learning in turn: network 1 learns from network 2, then network 2, on the same batch, from the new 1.

    The net is that of the first half step, in which network 2 rests. `examples/peers_in_turn.py` makes the second half
    of it, exchanging who rests, and trains both: a batch passes twice through each, and its BatchNorms' running
    averages move at each pass. `sdcaffe train` makes the first half alone, beside a peer that learns nothing.
    """

    def net(self, network: Network, images: ImageSet, batch_size: int) -> NetText:
        whole = super().net(network, images, batch_size)
        return whole.replaced(whole.name, enumerate(self._resting(whole.net())))

    def _resting(self, net: proto.NetParameter) -> Iterator[proto.LayerParameter]:
        for layer in net.layer:
            if layer.type == "KLLoss":
                layer.kl_loss_param.one_sided = True
            yield as_resting(layer) if layer.name.startswith(self.prefix) else layer

    def remarks(self, batch_size: int) -> list[str]:
        return [f"The peer {self.peer} rests here: `examples/peers_in_turn.py` trains both by turns."]

    @property
    def solver_remarks(self) -> list[str]:
        return ["For `examples/peers_in_turn.py`: by itself `sdcaffe train` lets the peer learn nothing."]


def _two_networks(
    mechanism: Mechanism,
    network: Network,
    images: ImageSet,
    batch_size: int,
    other: Network,
    role: str,
    prefix: str = "",
    *,
    frozen: bool = False,
) -> tuple[NetText, Heads, Heads]:
    """A net up to its losses, the heads of the network that is tested, and those of the one beside it."""
    net = NetText(f"{network.name} {images.title} {mechanism.title}")
    data(net, images, batch_size)
    image = Blob("data", images.channels)
    heads = network.build(net, image)
    beside = NetText(other.name)
    found = other.build(beside, image)
    net.extend(tower(beside, prefix, frozen=frozen), f"{role} {other.name}")
    net.section("losses")
    return net, heads, Heads(*(Blob(f"{prefix}{blob.name}", blob.channels) for blob in found))


def _hard_labels(net: NetText, name: str, heads: Heads) -> None:
    net.layer(name, "SoftmaxWithLoss", [heads.logits.name, "label"], [name], phase="TRAIN")


def _tested(net: NetText, images: ImageSet, heads: Heads, others: Heads, param: Message) -> NetText:
    """The net with what the two networks' predictions add to the loss, and with its test."""
    message = {"loss_weight": 1, "kl_loss_param": param}
    net.layer("kl", "KLLoss", [heads.logits.name, others.logits.name], ["kl"], message, phase="TRAIN")
    net.layer("loss", "SoftmaxWithLoss", [heads.logits.name, "label"], ["loss"], phase="TEST")
    accuracy(net, images, heads)
    return net
