"""What networks and mechanisms are to each other. No network and no mechanism is here."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from sdcaffe.paper.datasets import ImageSet
from sdcaffe.paper.text import Blob, NetText


class Heads(NamedTuple):
    """What a mechanism reads of a network: h, the input of its last layer, and z, that layer's output."""

    feature: Blob
    logits: Blob


class Network(Protocol):
    """A kind of network with its sizes chosen."""

    @property
    def name(self) -> str:
        """The name people know it by, such as ResNet-32."""

    def build(self, net: NetText, image: Blob) -> Heads:
        """Write the network onto `net`, from the blob `image` on."""


class Mechanism(Protocol):
    """A way to train a network."""

    @property
    def title(self) -> str:
        """What people call it; it ends the net's name."""

    @property
    def file(self) -> str:
        """Its part of file names."""

    def train_val(self, network: Network, images: ImageSet, batch_size: int) -> str:
        """The net that trains `network` so, and tests it, as text."""
