"""Where a layer's top lies over its bottom, axis by axis, as its fields say. Needs no layer and no shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sdcaffe import proto

Numbers = NDArray[np.float64]  # one for all spatial axes, or one for each


def _numbers(*values: float) -> Numbers:
    return np.array(values, np.float64)


@dataclass(frozen=True, eq=False)
class Places:
    """Place x of a bottom is place `scale` x + `shift` of the top, on each of the axes behind `axis` (None: on any).

    `first_only`: only bottom 0 is laid over the top; others give their shapes alone.
    """

    axis: int | None = None
    scale: Numbers = field(default_factory=lambda: _numbers(1))
    shift: Numbers = field(default_factory=lambda: _numbers(0))
    first_only: bool = False

    def inverse(self) -> Places:
        """The way back, from a place of the top to one of the bottom."""
        return Places(self.axis, 1 / self.scale, -self.shift / self.scale)


def cropped(param: proto.CropParameter) -> Places:
    """Of a CropParameter."""
    return Places(param.axis - 1, shift=-_numbers(*param.offset or [0]), first_only=True)


def convolved(param: proto.ConvolutionParameter) -> Places:
    """Of a ConvolutionParameter: output i is centred on stride i - pad + dilation (kernel - 1) / 2."""
    kernel = _sizes(param, "kernel", list(param.kernel_size), 1)
    stride, pad = _sizes(param, "stride", list(param.stride), 1), _sizes(param, "pad", list(param.pad), 0)
    return Places(param.axis, stride, _numbers(*param.dilation or [1]) * (kernel - 1) / 2 - pad).inverse()


def pooled(param: proto.PoolingParameter) -> Places | None:
    """Of a PoolingParameter; None for global_pooling, whose scale is that of the image."""
    if param.global_pooling:
        return None
    kernel = _sizes(param, "kernel", [param.kernel_size or 1], 1)
    stride, pad = _sizes(param, "stride", [param.stride], 1), _sizes(param, "pad", [param.pad], 0)
    return Places(1, stride, (kernel - 1) / 2 - pad).inverse()


def _sizes(
    param: proto.ConvolutionParameter | proto.PoolingParameter, stem: str, given: Sequence[int], default: int
) -> Numbers:
    """One size for each spatial axis, or one for all; kernel_h and the like stand for two axes."""
    sides = [f"{stem}_h", f"{stem}_w"]
    if any(param.HasField(side) for side in sides):
        return _numbers(*(getattr(param, side) if param.HasField(side) else default for side in sides))
    return _numbers(*given or [default])
