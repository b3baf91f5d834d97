"""AlexNet (Krizhevsky et al., 2012) for 227x227 images as Caffe has it, from an image blob to logits.

Weights start by "msra", as all of the paper's networks do; biases start as in Caffe's own example.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sdcaffe.paper.networks.network import Heads
from sdcaffe.paper.text import Blob, NetText
from sdcaffe.proto.printing import Word

# Biases learn twice as fast and do not decay.
_LEARNING = [{"lr_mult": 1, "decay_mult": 1}, {"lr_mult": 2, "decay_mult": 0}]


@dataclass(frozen=True)
class AlexNet:
    """Five convolutions, two of them pooled and normalised after, and three fully connected layers with dropout."""

    classes: int = 1000
    name = "AlexNet"

    def build(self, net: NetText, image: Blob) -> Heads:
        """Write the network onto `net`, from the blob `image` (227x227) on."""
        net.section("convolutions")
        x = self._convolution(net, "conv1", image, 96, {"kernel_size": 11, "stride": 4})
        x = self._pooled(net, 1, self._normalised(net, 1, x))
        x = self._convolution(net, "conv2", x, 256, {"kernel_size": 5, "pad": 2, "group": 2}, bias=0.1)
        x = self._pooled(net, 2, self._normalised(net, 2, x))
        x = self._convolution(net, "conv3", x, 384, {"kernel_size": 3, "pad": 1})
        x = self._convolution(net, "conv4", x, 384, {"kernel_size": 3, "pad": 1, "group": 2}, bias=0.1)
        x = self._convolution(net, "conv5", x, 256, {"kernel_size": 3, "pad": 1, "group": 2}, bias=0.1)
        x = self._pooled(net, 5, x)
        net.section("head")
        x = self._dropped(net, 6, self._inner_product(net, "fc6", Blob(x.name, x.channels * 6 * 6), 4096, 0.1))
        x = self._dropped(net, 7, self._inner_product(net, "fc7", x, 4096, 0.1))
        return Heads(x, self._inner_product(net, "fc8", x, self.classes, 0))

    def _convolution(
        self, net: NetText, name: str, bottom: Blob, channels: int, window: Mapping[str, int], bias: float = 0
    ) -> Blob:
        message = {"num_output": channels, **window, **_filled(bias)}
        net.layer(name, "Convolution", [bottom.name], [name], {"param": _LEARNING, "convolution_param": message})
        net.layer(f"relu{name[-1]}", "ReLU", [name], [name])
        net.parameters += (bottom.channels // window.get("group", 1) * window["kernel_size"] ** 2 + 1) * channels
        return Blob(name, channels)

    def _normalised(self, net: NetText, number: int, bottom: Blob) -> Blob:
        name = f"norm{number}"
        message = {"local_size": 5, "alpha": 0.0001, "beta": 0.75}
        net.layer(name, "LRN", [bottom.name], [name], {"lrn_param": message})
        return Blob(name, bottom.channels)

    def _pooled(self, net: NetText, number: int, bottom: Blob) -> Blob:
        name = f"pool{number}"
        message = {"pool": Word("MAX"), "kernel_size": 3, "stride": 2}
        net.layer(name, "Pooling", [bottom.name], [name], {"pooling_param": message})
        return Blob(name, bottom.channels)

    def _inner_product(self, net: NetText, name: str, bottom: Blob, outputs: int, bias: float) -> Blob:
        message = {"num_output": outputs, **_filled(bias)}
        net.layer(name, "InnerProduct", [bottom.name], [name], {"param": _LEARNING, "inner_product_param": message})
        net.parameters += (bottom.channels + 1) * outputs
        return Blob(name, outputs)

    def _dropped(self, net: NetText, number: int, blob: Blob) -> Blob:
        net.layer(f"relu{number}", "ReLU", [blob.name], [blob.name])
        dropout = {"dropout_param": {"dropout_ratio": 0.5}}
        net.layer(f"drop{number}", "Dropout", [blob.name], [blob.name], dropout)
        return blob


def _filled(bias: float) -> Mapping[str, object]:
    filler: dict[str, object] = {"weight_filler": {"type": "msra"}}
    return filler | ({"bias_filler": {"type": "constant", "value": bias}} if bias else {})
