"""Pre-activation residual networks, 18 or 34 layers deep, for 32x32 images, from an image blob to logits."""

from __future__ import annotations

from dataclasses import dataclass

from sdcaffe.paper.networks import blocks
from sdcaffe.paper.networks.network import Heads
from sdcaffe.paper.networks.preactivation import activated, residual
from sdcaffe.paper.text import Blob, NetText

_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}


@dataclass(frozen=True)
class PreactResNet:
    """Four stages 64, 128, 256 and 512 wide behind one 3x3 convolution; all but the first halve the image."""

    depth: int
    classes: int

    def __post_init__(self) -> None:
        if self.depth not in _BLOCKS:
            raise ValueError(f"a pre-activation ResNet is 18 or 34 layers deep, not {self.depth}")

    @property
    def name(self) -> str:
        return f"pre-activation ResNet-{self.depth}"

    def build(self, net: NetText, image: Blob) -> Heads:
        """Write the network onto `net`, from the blob `image` on."""
        net.section("stage 1")
        x = blocks.convolution(net, "conv1", image, 64, 3)
        for stage, count in enumerate(_BLOCKS[self.depth], start=2):
            net.section(f"stage {stage}")
            for block in range(1, count + 1):
                stride = 2 if stage > 2 and block == 1 else 1
                first = stage == 2 and block == 1
                x = residual(net, f"res{stage}_{block}", x, 2 ** (stage + 4), stride, first=first)
        net.section("head")
        feature = blocks.global_average(net, "pool", activated(net, "last", x))
        return Heads(feature, blocks.inner_product(net, "fc", feature, self.classes))
