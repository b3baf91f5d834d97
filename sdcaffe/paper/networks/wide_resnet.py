"""Wide residual networks for 32x32 images (Zagoruyko and Komodakis, 2016), from an image blob to logits."""

from __future__ import annotations

from dataclasses import dataclass

from sdcaffe.paper.networks import blocks
from sdcaffe.paper.networks.network import Heads
from sdcaffe.paper.networks.preactivation import activated, residual
from sdcaffe.paper.text import Blob, NetText


@dataclass(frozen=True)
class WideResNet:
    """WRN-depth-width: depth 6n + 4, three stages of n blocks, 16, 32 and 64 times `width` wide; no dropout.

    Its layers are named apart from those of the other networks, so that one net can hold both: a teacher
    then finds its weights by its own names.
    """

    depth: int
    width: int
    classes: int

    def __post_init__(self) -> None:
        if self.depth < 10 or self.depth % 6 != 4:
            raise ValueError(f"the depth of a wide ResNet is 6n + 4 with n >= 1, not {self.depth}")

    @property
    def name(self) -> str:
        return f"WRN-{self.depth}-{self.width}"

    def build(self, net: NetText, image: Blob) -> Heads:
        """Write the network onto `net`, from the blob `image` on."""
        net.section("stage 1")
        x = blocks.convolution(net, "wide1", image, 16, 3)
        for stage in (2, 3, 4):
            net.section(f"stage {stage}")
            for block in range(1, (self.depth - 4) // 6 + 1):
                stride = 2 if stage > 2 and block == 1 else 1
                channels = 2 ** (stage + 2) * self.width
                first = stage == 2 and block == 1
                x = residual(net, f"wide{stage}_{block}", x, channels, stride, first=first)
        net.section("head")
        feature = blocks.global_average(net, "wide_pool", activated(net, "wide_last", x))
        return Heads(feature, blocks.inner_product(net, "wide_fc", feature, self.classes))
