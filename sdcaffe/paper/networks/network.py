"""What a network is to those who train it. No network is here."""

from __future__ import annotations

from typing import NamedTuple, Protocol

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
