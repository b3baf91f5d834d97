"""AlexNet and ResNet-18 as torchvision has them, from an image blob to logits, for weights that were trained there.

Layers are named as in the paper's nets. Their order is that of torchvision's modules, so weights go over by order.
"""

from __future__ import annotations

from dataclasses import dataclass

from sdcaffe.paper.datasets import IMAGENET
from sdcaffe.paper.mechanisms import deploy
from sdcaffe.paper.networks.alexnet import AlexNet
from sdcaffe.paper.networks.imagenet_resnet import ImageNetResNet18
from sdcaffe.paper.networks.network import Heads, Network
from sdcaffe.paper.text import Blob, NetText
from sdcaffe.proto.printing import Word

_INPUT = [
    "The input is (pixel / 255 - mean) / std, of pixels 0 to 255 in the order red, green, blue, as torchvision's",
    "weights want it: mean 0.485 0.456 0.406; std 0.229 0.224 0.225.",
]


@dataclass(frozen=True)
class TorchvisionAlexNet(AlexNet):
    """Narrower than the paper's, without groups and LRN (Krizhevsky, 2014)."""

    name = "torchvision AlexNet"

    def build(self, net: NetText, image: Blob) -> Heads:
        net.section("convolutions")
        x = self._convolution(net, "conv1", image, 64, {"kernel_size": 11, "stride": 4, "pad": 2})
        x = self._pooled(net, 1, x)
        x = self._convolution(net, "conv2", x, 192, {"kernel_size": 5, "pad": 2})
        x = self._pooled(net, 2, x)
        x = self._convolution(net, "conv3", x, 384, {"kernel_size": 3, "pad": 1})
        x = self._convolution(net, "conv4", x, 256, {"kernel_size": 3, "pad": 1})
        x = self._convolution(net, "conv5", x, 256, {"kernel_size": 3, "pad": 1})
        x = self._pooled(net, 5, x)
        net.section("head")
        x = self._dropped(net, 6, self._inner_product(net, "fc6", Blob(x.name, x.channels * 6 * 6), 4096, 0))
        x = self._dropped(net, 7, self._inner_product(net, "fc7", x, 4096, 0))
        return Heads(x, self._inner_product(net, "fc8", x, self.classes, 0))


@dataclass(frozen=True)
class TorchvisionResNet18(ImageNetResNet18):
    """The paper's but for its first pooling, whose windows are padded and do not reach over the other end."""

    name = "torchvision ResNet-18"

    pooling = {"pool": Word("MAX"), "kernel_size": 3, "stride": 2, "pad": 1, "round_mode": Word("FLOOR")}


def torchvision_deploys() -> dict[str, str]:
    """The deploy nets, by their paths."""
    nets: dict[str, Network] = {"alexnet": TorchvisionAlexNet(), "resnet18": TorchvisionResNet18()}
    return {
        f"prototxt/imagenet/{name}/deploy_torchvision.prototxt": deploy(net, IMAGENET, _INPUT)
        for name, net in nets.items()
    }
