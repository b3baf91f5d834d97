"""What pre-activation residual networks share (He et al., 2016, "Identity mappings"): BatchNorm, ReLU, convolution."""

from __future__ import annotations

from sdcaffe.paper.networks import blocks
from sdcaffe.paper.text import Blob, NetText


def activated(net: NetText, name: str, bottom: Blob) -> Blob:
    """BatchNorm, Scale and ReLU into a blob of their own; `bottom` stays as it is for a shortcut."""
    top = f"{name}_bn"
    net.layer(top, "BatchNorm", [bottom.name], [top])
    net.layer(f"{name}_scale", "Scale", [top], [top], {"scale_param": {"bias_term": True}})
    net.layer(f"{name}_relu", "ReLU", [top], [top])
    net.parameters += 2 * bottom.channels
    return Blob(top, bottom.channels)


def activated_convolution(
    net: NetText, name: str, bottom: Blob, channels: int, kernel: int = 3, stride: int = 1
) -> Blob:
    """BatchNorm, ReLU, then a convolution."""
    return blocks.convolution(net, name, activated(net, name, bottom), channels, kernel, stride)


def residual(net: NetText, name: str, bottom: Blob, channels: int, stride: int = 1, *, first: bool = False) -> Blob:
    """Two activated 3x3 convolutions beside a shortcut.

    The shortcut is `bottom`; where the size changes, a 1x1 convolution of the activated `bottom`; and in the
    `first` block behind a plain convolution, the activated `bottom` itself (He et al., 2016, appendix).
    """
    shortcut = activated(net, f"{name}a", bottom)
    x = blocks.convolution(net, f"{name}a", shortcut, channels, 3, stride)
    x = activated_convolution(net, f"{name}b", x, channels)
    if stride > 1 or channels != bottom.channels:
        shortcut = blocks.convolution(net, f"{name}_shortcut", shortcut, channels, 1, stride)
    elif not first:
        shortcut = bottom
    return blocks.added(net, name, x, shortcut)
