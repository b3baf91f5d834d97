"""The groups of layers that networks are built from. Each takes and returns blobs, and counts parameters."""

from __future__ import annotations

from sdcaffe.paper.text import Blob, NetText
from sdcaffe.proto.printing import Word


def convolution(net: NetText, name: str, bottom: Blob, channels: int, kernel: int, stride: int = 1) -> Blob:
    """A convolution without bias that keeps the image size (but for its stride), for a BatchNorm to follow.

    Its weights are drawn by "msra" with Caffe's default variance_norm, FAN_IN.
    """
    message: dict[str, object] = {"num_output": channels, "kernel_size": kernel}
    if kernel > 1:
        message["pad"] = kernel // 2
    if stride > 1:
        message["stride"] = stride
    message |= {"bias_term": False, "weight_filler": {"type": "msra"}}
    net.layer(name, "Convolution", [bottom.name], [name], {"convolution_param": message})
    net.parameters += bottom.channels * channels * kernel**2
    return Blob(name, channels)


def batch_norm(net: NetText, blob: Blob, *, fraction: float, relu: bool = True) -> Blob:
    """BatchNorm and Scale in place, then ReLU. `fraction`: what the stored statistics keep a step."""
    statistics = {"batch_norm_param": {"moving_average_fraction": fraction}} if fraction != 0.999 else {}
    net.layer(f"{blob.name}_bn", "BatchNorm", [blob.name], [blob.name], statistics)
    net.layer(f"{blob.name}_scale", "Scale", [blob.name], [blob.name], {"scale_param": {"bias_term": True}})
    net.parameters += 2 * blob.channels
    if relu:
        rectified(net, blob)
    return blob


def rectified(net: NetText, blob: Blob) -> Blob:
    """ReLU in place."""
    net.layer(f"{blob.name}_relu", "ReLU", [blob.name], [blob.name])
    return blob


def subsampled(net: NetText, name: str, bottom: Blob, channels: int) -> Blob:
    """Every second pixel, and zeros for the channels that are missing: a shortcut without parameters.

    The pooling rounds down: Caffe's default, up, would put a window outside an image of even size.
    """
    net.layer(
        f"{name}_subsample",
        "Pooling",
        [bottom.name],
        [f"{name}_subsample"],
        {"pooling_param": {"pool": Word("MAX"), "kernel_size": 1, "stride": 2, "round_mode": Word("FLOOR")}},
    )
    zeros = {"power_param": {"scale": 0, "shift": 0}}
    net.layer(f"{name}_zeros", "Power", [f"{name}_subsample"], [f"{name}_zeros"], zeros)
    parts = [f"{name}_subsample"] + [f"{name}_zeros"] * (channels // bottom.channels - 1)
    net.layer(name, "Concat", parts, [name])
    return Blob(name, channels)


def added(net: NetText, name: str, first: Blob, second: Blob) -> Blob:
    """The sum of two blobs."""
    net.layer(name, "Eltwise", [first.name, second.name], [name])
    return Blob(name, first.channels)


def global_average(net: NetText, name: str, bottom: Blob) -> Blob:
    """The mean of each channel over the image."""
    pooling = {"pool": Word("AVE"), "global_pooling": True}
    net.layer(name, "Pooling", [bottom.name], [name], {"pooling_param": pooling})
    return Blob(name, bottom.channels)


def inner_product(net: NetText, name: str, bottom: Blob, outputs: int) -> Blob:
    """The last layer: `outputs` logits, weights by "msra", biases zero."""
    message = {"num_output": outputs, "weight_filler": {"type": "msra"}}
    net.layer(name, "InnerProduct", [bottom.name], [name], {"inner_product_param": message})
    net.parameters += (bottom.channels + 1) * outputs
    return Blob(name, outputs)
