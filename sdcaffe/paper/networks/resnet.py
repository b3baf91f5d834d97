"""Residual networks for 32x32 images (He et al., 2016), from an image blob to features and logits."""

from __future__ import annotations

from dataclasses import dataclass

from sdcaffe.paper.networks import blocks
from sdcaffe.paper.networks.network import Heads
from sdcaffe.paper.text import Blob, NetText


@dataclass(frozen=True)
class ResNet:
    """A CIFAR ResNet: depth 6n + 2, three stages of n two-layer blocks, `width`, 2 and 4 times it wide.

    Stages 3 and 4 start with stride 2. There a shortcut takes every second pixel and zeros for the new
    channels (He et al.'s option A), or with `projection` a 1x1 convolution and BatchNorm. `stem_stride` is that of
    the first convolution, 1 in the paper. `prefix` begins the layers' names, for a place beside another in one net.
    """

    depth: int
    classes: int
    width: int = 16
    projection: bool = False
    batch_norm_fraction: float = 0.999
    stem_stride: int = 1
    prefix: str = ""

    def __post_init__(self) -> None:
        if self.depth < 8 or self.depth % 6 != 2:
            raise ValueError(f"the depth of a CIFAR ResNet is 6n + 2 with n >= 1, not {self.depth}")

    @property
    def name(self) -> str:
        width = f", width {self.width}" if self.width != 16 else ""
        return f"ResNet-{self.depth}{' with projections' if self.projection else ''}{width}"

    def build(self, net: NetText, image: Blob) -> Heads:
        """Write the network onto `net`, from the blob `image` on."""
        net.section("stage 1")
        x = self._convolution(net, f"{self.prefix}conv1", image, self.width, stride=self.stem_stride)
        for stage in (2, 3, 4):
            net.section(f"stage {stage}")
            for block in range(1, (self.depth - 2) // 6 + 1):
                stride = 2 if stage > 2 and block == 1 else 1
                x = self._block(net, f"{self.prefix}res{stage}_{block}", x, self.width * 2 ** (stage - 2), stride)
        net.section("head")
        feature = blocks.global_average(net, f"{self.prefix}pool", x)
        return Heads(feature, blocks.inner_product(net, f"{self.prefix}fc", feature, self.classes))

    def _block(self, net: NetText, name: str, bottom: Blob, channels: int, stride: int) -> Blob:
        x = self._convolution(net, f"{name}a", bottom, channels, stride=stride)
        x = self._convolution(net, f"{name}b", x, channels, relu=False)
        shortcut = bottom
        if stride > 1 and self.projection:
            shortcut = self._convolution(net, f"{name}_shortcut", bottom, channels, 1, stride=stride, relu=False)
        elif stride > 1:
            shortcut = blocks.subsampled(net, f"{name}_shortcut", bottom, channels)
        return blocks.rectified(net, blocks.added(net, name, x, shortcut))

    def _convolution(
        self,
        net: NetText,
        name: str,
        bottom: Blob,
        channels: int,
        kernel: int = 3,
        *,
        stride: int = 1,
        relu: bool = True,
    ) -> Blob:
        x = blocks.convolution(net, name, bottom, channels, kernel, stride)
        return blocks.batch_norm(net, x, fraction=self.batch_norm_fraction, relu=relu)
