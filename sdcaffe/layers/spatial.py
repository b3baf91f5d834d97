"""Sliding windows over any number of spatial axes: Caffe's geometry, im2col, convolution and its transpose.

Holds no layer type; Convolution, Deconvolution and Im2col stand on it.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from sdcaffe import proto
from sdcaffe.layers.base import Layer, Shape, show_shape
from sdcaffe.layers.bfloat16 import WidenedConvolution, is_widened

_CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


@dataclass(frozen=True)
class Geometry:
    """Kernel, stride, padding and dilation of each spatial axis; `pad` is before the image, `behind` behind it."""

    kernel: Shape
    stride: Shape
    pad: Shape
    behind: Shape
    dilation: Shape

    @cached_property
    def extent(self) -> Shape:
        """How many values each axis of a dilated kernel spans."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True))

    @cached_property
    def least(self) -> Shape:
        """How many values each axis must have for the kernel to fit."""
        return tuple(e - p - b for e, p, b in zip(self.extent, self.pad, self.behind, strict=True))

    def spare(self, spatial: Shape) -> Shape:
        """What is left of each padded axis beyond the kernel; below 0 where the kernel is the larger."""
        axes = zip(spatial, self.pad, self.behind, self.extent, strict=True)
        return tuple(n + p + b - e for n, p, b, e in axes)

    def convolved(self, spatial: Shape) -> Shape:
        """Output sizes of a convolution: spare / stride + 1, in C's division that rounds towards 0."""
        return tuple(int(spare / s) + 1 for spare, s in zip(self.spare(spatial), self.stride, strict=True))

    def transposed(self, spatial: Shape) -> Shape:
        """Output sizes of a deconvolution: stride * (n - 1) + extent - pad - behind."""
        axes = zip(spatial, self.stride, self.extent, self.pad, self.behind, strict=True)
        return tuple(s * (n - 1) + e - p - b for n, s, e, p, b in axes)

    @property
    def sides(self) -> Shape:
        """The padding as torch's `pad` wants it: before and behind, the last axis first."""
        axes = zip(reversed(self.pad), reversed(self.behind), strict=True)
        return tuple(size for sides in axes for size in sides)

    @property
    def is_plain(self) -> bool:
        """Whether torch's operators take the padding: as much behind as before, and none below 0."""
        return self.pad == self.behind and all(size >= 0 for size in self.pad)

    @property
    def unpadded(self) -> Geometry:
        """The same for an image that has been padded."""
        none = (0,) * len(self.pad)
        return replace(self, pad=none, behind=none)


def read_geometry(layer: Layer, axes: int) -> Geometry:
    """The geometry that a ConvolutionParameter gives `axes` spatial axes.

    Each size is given once, or once per axis, or (two axes only) as _h and _w. Raises LayerError.
    """
    pad = _sizes(layer, axes, "pad", "pad", 0, least=0)
    return Geometry(
        kernel=_sizes(layer, axes, "kernel_size", "kernel", None, least=1),
        stride=_sizes(layer, axes, "stride", "stride", 1, least=1),
        pad=pad,
        behind=pad,
        dilation=_sizes(layer, axes, "dilation", None, 1, least=1),
    )


def _sizes(layer: Layer, axes: int, field: str, stem: str | None, default: int | None, *, least: int) -> Shape:
    param = layer.param
    given = list(getattr(param, field))
    if stem is not None and (param.HasField(f"{stem}_h") or param.HasField(f"{stem}_w")):
        names = f"{stem}_h and {stem}_w"
        if axes != 2:
            raise layer.error(f"{names} need 2 spatial axes, not {axes}; repeat {field} instead", field)
        if given:
            raise layer.error(f"give {field} or {names}, not both", field)
        given = [getattr(param, f"{stem}_h"), getattr(param, f"{stem}_w")]
    elif not given and default is not None:
        given = [default]
    if len(given) not in (1, axes):
        raise layer.error(
            f"{field} is given {len(given)} times; give it once, or once for each of {axes} spatial axes", field
        )
    if any(size < least for size in given):
        raise layer.error(f"{field} (={', '.join(map(str, given))}) must be at least {least}", field)
    return tuple(given * axes if len(given) == 1 else given)


def settings(param: proto.ConvolutionParameter) -> list[str]:
    """What a drawing says of a ConvolutionParameter."""
    kernel = _shown(param, "kernel_size", "kernel")
    return [
        f"{param.num_output}" if param.num_output else "",
        kernel if "x" in kernel or not kernel else f"{kernel}x{kernel}",
        unless(_shown(param, "stride", "stride"), "stride", "1"),
        unless(_shown(param, "pad", "pad"), "pad", "0"),
        unless("x".join(map(str, param.dilation)), "dilation", "1"),
        unless(str(param.group), "group", "1"),
    ]


def _shown(param: proto.ConvolutionParameter, field: str, stem: str) -> str:
    """A size in a drawing: "3", "1x7"."""
    if param.HasField(f"{stem}_h") or param.HasField(f"{stem}_w"):
        return f"{getattr(param, f'{stem}_h')}x{getattr(param, f'{stem}_w')}"
    return "x".join(map(str, getattr(param, field)))


def unless(value: str, word: str, usual: str) -> str:
    """A size in a drawing, where it is not the usual one."""
    return f"{word} {value}" if value not in ("", usual) else ""


def check_sizes(layer: Layer, bottom: Shape, axis: int, spatial: Shape) -> None:
    """Raises LayerError where an output size is below 1, and where channels or images have no values at all."""
    if 0 in bottom[axis:]:
        raise layer.error(f"a bottom of shape {show_shape(bottom)} has no values to take windows of", "bottom")
    if any(size < 1 for size in spatial):
        raise layer.error(
            f"the kernel does not fit: bottom {show_shape(bottom)} would give spatial sizes {spatial}", "kernel_size"
        )


def windows(bottom: Tensor, geometry: Geometry) -> Tensor:
    """Every window of a bottom (n, c, *spatial), zero-padded, as (n, c, *output, *kernel)."""
    view = _pad(bottom, geometry.sides)
    for i, (extent, stride, dilation) in enumerate(
        zip(geometry.extent, geometry.stride, geometry.dilation, strict=True)
    ):
        view = view.unfold(2 + i, extent, stride)[..., ::dilation]
    return view


def fit(bottom: Tensor, geometry: Geometry) -> Tensor:
    """The bottom, with zeros behind any spatial axis that is shorter than the kernel.

    Caffe's output size is then still 1 where the stride exceeds what is missing, and reads zeros there.
    """
    sizes = list(zip(bottom.shape[2:], geometry.least, strict=True))
    if all(size >= least for size, least in sizes):
        return bottom
    return _pad(bottom, tuple(n for size, least in reversed(sizes) for n in (0, max(0, least - size))))


def _pad(bottom: Tensor, sides: Shape) -> Tensor:
    return F.pad(bottom, sides) if any(sides) else bottom


def convolve(bottom: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry, group: int) -> Tensor:
    """Convolution of (n, c, *spatial) by a weight (outputs, c / group, *kernel)."""
    bottom = fit(bottom, geometry)
    if not geometry.is_plain:
        bottom, geometry = F.pad(bottom, geometry.sides), geometry.unpadded
    function = _CONVOLVE.get(len(geometry.kernel))
    if function is not None:
        sizes = geometry.stride, geometry.pad, geometry.dilation
        if is_widened(bottom):
            return WidenedConvolution.apply(bottom, weight, bias, *sizes, False, group)
        return function(bottom, weight, bias, *sizes, group)
    seen = windows(bottom, geometry)
    n, c = seen.shape[:2]
    spatial = seen.shape[2 : 2 + len(geometry.kernel)]
    columns = seen.reshape(n, group, c // group, spatial.numel(), -1)
    kernels = weight.reshape(group, weight.shape[0] // group, c // group, -1)
    top = torch.einsum("ngcok,gmck->ngmo", columns, kernels).reshape(n, weight.shape[0], *spatial)
    return top if bias is None else top + bias.reshape(-1, *[1] * len(spatial))


def transpose(bottom: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry, group: int) -> Tensor:
    """Deconvolution of (n, c, *spatial) by a weight (c, outputs / group, *kernel)."""
    if not geometry.is_plain:
        top = transpose(bottom, weight, None, geometry.unpadded, group)
        top = F.pad(top, [-size for size in geometry.sides])
        return top if bias is None else top + bias.reshape(-1, *[1] * len(geometry.kernel))
    function = _TRANSPOSE.get(len(geometry.kernel))
    if function is not None:
        if is_widened(bottom):
            sizes = geometry.stride, geometry.pad, geometry.dilation
            return WidenedConvolution.apply(bottom, weight, bias, *sizes, True, group)
        return function(bottom, weight, bias, geometry.stride, geometry.pad, 0, group, geometry.dilation)
    top = _spread(bottom, weight, geometry, group)
    return top if bias is None else top + bias.reshape(-1, *[1] * len(geometry.kernel))


def _spread(bottom: Tensor, weight: Tensor, geometry: Geometry, group: int) -> Tensor:
    """`transpose` over any number of axes, without a bias: each value times the kernel, added up where it falls."""
    (n, c), sizes = bottom.shape[:2], bottom.shape[2:]
    values = bottom.reshape(n, group, c // group, -1)
    kernels = weight.reshape(group, c // group, weight.shape[1], -1)
    parts = torch.einsum("ngcp,gcmk->kngmp", values, kernels).reshape(kernels.shape[3], n, -1, *sizes)
    axes = list(zip(sizes, geometry.extent, geometry.stride, geometry.dilation, strict=True))
    whole = bottom.new_zeros(*parts.shape[1:3], *(stride * (size - 1) + extent for size, extent, stride, _ in axes))
    for part, place in zip(parts, itertools.product(*map(range, geometry.kernel)), strict=True):
        falls = [
            slice(first * dilation, first * dilation + stride * (size - 1) + 1, stride)
            for first, (size, _, stride, dilation) in zip(place, axes, strict=True)
        ]
        whole[(slice(None), slice(None), *falls)] += part
    return F.pad(whole, [-size for size in geometry.sides])
