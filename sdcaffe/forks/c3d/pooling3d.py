"""Pooling3D: C3D's pooling over length, height and width."""

from __future__ import annotations

import enum
import itertools
from typing import Any

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.forks.c3d import source_parts
from sdcaffe.forks.c3d.convolution3d import plane
from sdcaffe.layers.base import Layer, OnnxBuilder, Shape, Source, SourceBuilder, register, show_shape


class Pooling3DParameter:
    class PoolMethod(enum.IntEnum):
        MAX = 0
        AVE = 1
        STOCHASTIC = 2

    pool: PoolMethod = PoolMethod.MAX
    kernel_size: int
    stride: int = 1
    pad: int = 0
    kernel_depth: int
    temporal_stride: int = 1


class _Maxima(torch.autograd.Function):
    """The maxima; backward gives a window's gradient to each of its values that is the largest."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: list[int], stride: list[int], behind: list[int]) -> Tensor:
        top = source_parts.volume_maxima(x, kernel, stride, behind)
        ctx.save_for_backward(x, top)
        ctx.kernel, ctx.stride = kernel, stride
        return top

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        x, top = ctx.saved_tensors
        slope = torch.zeros_like(x)
        for offsets in itertools.product(*map(range, ctx.kernel)):
            places: Any = (..., *(slice(o, None, s) for o, s in zip(offsets, ctx.stride, strict=True)))
            there = x[places]
            windows: Any = (..., *(slice(0, min(n, t)) for n, t in zip(there.shape[2:], top.shape[2:], strict=True)))
            slope[places][windows] += grad[windows] * (there[windows] == top[windows])
        return slope, None, None, None


class _VolumePooling(Layer):
    """What both of C3D's messages of fields say, which name them alike."""

    param: Any
    drawn_as = "pooling"
    fixes = "size"
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        (bottom,) = bottom_shapes
        param = self.param
        if len(bottom) != 5:
            raise self.error(f"the bottom must have 5 axes (n, c, length, h, w): {show_shape(bottom)}")
        size, stride, self.pad = plane(self)
        if param.kernel_depth < 1 or param.temporal_stride < 1:
            raise self.error("kernel_depth and temporal_stride must be at least 1", "kernel_depth")
        self.maximum = param.pool == param.MAX
        if not self.maximum and param.pool != param.AVE:
            raise self.error("Pooling3D is MAX or AVE", "pool")
        if self.pad and (self.maximum or self.pad >= size):
            raise self.error("pad is for AVE alone, and must be less than kernel_size", "pad")
        self.kernel, self.stride = [int(param.kernel_depth), size, size], [int(param.temporal_stride), stride, stride]
        tops, self.behind = [], []
        for n, k, s, p in zip(bottom[2:], self.kernel, self.stride, (0, self.pad, self.pad), strict=True):
            tops.append(-((k - n - 2 * p) // s) + 1)
            if tops[-1] < 1 or (tops[-1] - 1) * s - p >= n:
                raise self.error(f"a window lies outside of the bottom: {show_shape(bottom)}; kernel {k}, stride {s}")
            self.behind.append((tops[-1] - 1) * s + k - n - 2 * p)
        return [(*bottom[:2], *tops)]

    def forward(self, bottom: Tensor) -> Tensor:
        if self.maximum:
            top: Tensor = _Maxima.apply(bottom, self.kernel, self.stride, self.behind)
            return top
        return source_parts.volume_means(bottom, self.kernel, self.stride, self.pad, self.behind)

    def to_onnx(self, builder: OnnxBuilder, *bottoms: Tensor) -> Tensor:
        if self.maximum:
            return source_parts.volume_maxima(bottoms[0], self.kernel, self.stride, self.behind)
        return self.forward(*bottoms)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        if self.maximum:
            part = builder.part(source_parts.volume_maxima)
            return Source(f"{part}({{0}}, {self.kernel}, {self.stride}, {self.behind})")
        part = builder.part(source_parts.volume_means)
        return Source(f"{part}({{0}}, {self.kernel}, {self.stride}, {self.pad}, {self.behind})")


@register("Pooling3D", field="pooling3d_param", number=6662)
class Pooling3D(_VolumePooling):
    """(n, c, length, h, w) to the largest or the mean of windows of kernel_depth x kernel_size x kernel_size.

    As in C3D 1.1 (facebook/C3D@71336a2): sizes are rounded up on all three axes, and the last windows may reach out of
    the image. pad is of height and width, and of AVE alone, whose mean counts it. Of several largest values each gets
    the gradient. Raises LayerError for a window that lies outside altogether, and for STOCHASTIC, which the fork only
    names.
    """

    param: proto.Pooling3DParameter
    Param = Pooling3DParameter


@register("Pooling3D", field="pooling_param", when=lambda layer_param: layer_param.HasField("pooling_param"))
class Pooling3DOfC3D10(_VolumePooling):
    """See Pooling3D: C3D 1.0's POOLING3D, whose fields stand in pooling_param."""

    origin = "C3D 1.0 (facebook/C3D)"
    param: proto.PoolingParameter
