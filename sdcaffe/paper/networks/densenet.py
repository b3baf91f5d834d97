"""DenseNets without bottleneck or compression (Huang et al., 2017) for 32x32 images, from an image blob to logits."""

from __future__ import annotations

from dataclasses import dataclass

from sdcaffe.paper.networks import blocks
from sdcaffe.paper.networks.network import Heads
from sdcaffe.paper.networks.preactivation import activated, activated_convolution
from sdcaffe.paper.text import Blob, NetText
from sdcaffe.proto.printing import Word


@dataclass(frozen=True)
class DenseNet:
    """Depth 3n + 4: three blocks of n layers, each of which reads all before it and adds `growth` channels."""

    depth: int
    classes: int
    growth: int = 12

    def __post_init__(self) -> None:
        if self.depth < 7 or self.depth % 3 != 1:
            raise ValueError(f"the depth of a DenseNet is 3n + 4 with n >= 1, not {self.depth}")

    @property
    def name(self) -> str:
        return f"DenseNet-{self.depth}"

    def build(self, net: NetText, image: Blob) -> Heads:
        """Write the network onto `net`, from the blob `image` on."""
        net.section("first convolution")
        x = blocks.convolution(net, "conv1", image, 16, 3)
        for block in (1, 2, 3):
            net.section(f"dense block {block}")
            for layer in range(1, (self.depth - 4) // 3 + 1):
                x = self._layer(net, f"dense{block}_{layer}", x)
            if block < 3:
                net.section(f"transition {block}")
                x = self._transition(net, f"transition{block}", x)
        net.section("head")
        feature = blocks.global_average(net, "pool", activated(net, "last", x))
        return Heads(feature, blocks.inner_product(net, "fc", feature, self.classes))

    def _layer(self, net: NetText, name: str, bottom: Blob) -> Blob:
        new = activated_convolution(net, name, bottom, self.growth)
        top = f"{name}_concat"
        net.layer(top, "Concat", [bottom.name, new.name], [top])
        return Blob(top, bottom.channels + self.growth)

    def _transition(self, net: NetText, name: str, bottom: Blob) -> Blob:
        x = activated_convolution(net, name, bottom, bottom.channels, kernel=1)
        top = f"{name}_pool"
        halved = {"pool": Word("AVE"), "kernel_size": 2, "stride": 2}
        net.layer(top, "Pooling", [x.name], [top], {"pooling_param": halved})
        return Blob(top, x.channels)
