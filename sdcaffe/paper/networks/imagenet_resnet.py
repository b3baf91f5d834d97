"""ResNet-18 for 224x224 images (He et al., 2016), from an image blob to logits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from sdcaffe.paper.networks import blocks
from sdcaffe.paper.networks.network import Heads
from sdcaffe.paper.text import Blob, NetText
from sdcaffe.proto.printing import Word


@dataclass(frozen=True)
class ImageNetResNet18:
    """Four stages of two blocks, 64 to 512 wide; a shortcut is a 1x1 convolution where the size changes (type B)."""

    classes: int = 1000
    name = "ResNet-18"
    pooling: ClassVar[Mapping[str, object]] = {"pool": Word("MAX"), "kernel_size": 3, "stride": 2}

    def build(self, net: NetText, image: Blob) -> Heads:
        """Write the network onto `net`, from the blob `image` on."""
        net.section("stage 1")
        x = self._convolution(net, "conv1", image, 64, 7, stride=2)
        net.layer("pool1", "Pooling", [x.name], ["pool1"], {"pooling_param": self.pooling})
        x = Blob("pool1", x.channels)
        for stage in (2, 3, 4, 5):
            net.section(f"stage {stage}")
            for block in (1, 2):
                stride = 2 if stage > 2 and block == 1 else 1
                x = self._block(net, f"res{stage}_{block}", x, 2 ** (stage + 4), stride)
        net.section("head")
        feature = blocks.global_average(net, "pool", x)
        return Heads(feature, blocks.inner_product(net, "fc", feature, self.classes))

    def _block(self, net: NetText, name: str, bottom: Blob, channels: int, stride: int) -> Blob:
        x = self._convolution(net, f"{name}a", bottom, channels, 3, stride=stride)
        x = self._convolution(net, f"{name}b", x, channels, 3, relu=False)
        shortcut = bottom
        if stride > 1:
            shortcut = self._convolution(net, f"{name}_shortcut", bottom, channels, 1, stride=stride, relu=False)
        return blocks.rectified(net, blocks.added(net, name, x, shortcut))

    def _convolution(
        self, net: NetText, name: str, bottom: Blob, channels: int, kernel: int, *, stride: int = 1, relu: bool = True
    ) -> Blob:
        x = blocks.convolution(net, name, bottom, channels, kernel, stride)
        return blocks.batch_norm(net, x, fraction=0.999, relu=relu)
