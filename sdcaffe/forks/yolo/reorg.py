"""Reorg: squares of pixels as channels, in darknet's order."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.forks.yolo import source_parts
from sdcaffe.layers.base import Layer, OnnxBuilder, Shape, Source, SourceBuilder, call, register, show_shape


class ReorgParameter:
    stride: int
    reverse: bool = False


class _NoGradient(torch.autograd.Function):
    """The top with a gradient of zeros, as the forks' Backward gives: it reads a buffer that nothing writes."""

    @staticmethod
    def forward(ctx: Any, bottom: Tensor, stride: int, reverse: bool, places: Tensor | None) -> Tensor:
        ctx.shape = n, c, h, w = bottom.shape
        if places is None:
            return source_parts.reorg(bottom, stride, reverse)
        return bottom.flatten()[places.to(bottom.device)].reshape(n, c * stride**2, h // stride, w // stride)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        return grad.new_zeros(ctx.shape), None, None, None


@register("Reorg", field="reorg_param", number=159)
class Reorg(Layer):
    """(n, c, h, w) to (n, c * stride^2, h / stride, w / stride), or with `reverse` (n, c / stride^2, h * stride, ...).

    As in MobileNet-YOLO (eric612/MobileNet-YOLO@69b4441) and Intel Caffe (intel/caffe@44d5363). The order is darknet's:
    the numbers of the bottom are taken as (n, c / stride^2, h * stride, w * stride) in either direction. As in both
    forks the gradient is 0: what is before a Reorg does not learn through it. Raises LayerError for channels and
    sizes of which the forks overrun their memory: the former should be a multiple of stride^2, the latter of stride.
    """

    param: proto.ReorgParameter
    origin = "MobileNet-YOLO, Intel Caffe"

    Param = ReorgParameter
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        (bottom,) = bottom_shapes
        stride = self.param.stride
        if stride < 1:
            raise self.error("needs a stride of at least 1", "stride")
        if len(bottom) != 4:
            raise self.error(f"needs a bottom (n, c, h, w), not {show_shape(bottom)}")
        n, c, h, w = bottom
        if c < stride**2 or (self.param.reverse and c % stride**2):
            raise self.error(f"needs channels that are a multiple of {stride**2}, not {c}", "stride")
        if self.param.reverse:
            return [(n, c // stride**2, h * stride, w * stride)]
        if h % stride or w % stride:
            raise self.error(f"needs a height and a width that are multiples of {stride}, not {h} and {w}", "stride")
        self.order = self._places(bottom) if c % stride**2 else None
        return [(n, c * stride**2, h // stride, w // stride)]

    order: Tensor | None = None

    def _places(self, bottom: Shape) -> Tensor:
        """Where each number of the top comes from, of channels that are no multiple of stride^2: as the forks count."""
        n, c, h, w = bottom
        stride = self.param.stride
        few = c // stride**2
        b, k, j, i = torch.meshgrid(*(torch.arange(size) for size in bottom), indexing="ij")
        row, column = j * stride + k // few // stride, i * stride + k // few % stride
        places = column + w * stride * (row + h * stride * (k % few + few * b))
        if int(places.max()) >= n * c * h * w:
            raise self.error(f"needs channels that are a multiple of {stride**2}, not {c}", "stride")
        return places

    def forward(self, bottom: Tensor) -> Tensor:
        top: Tensor = _NoGradient.apply(bottom, self.param.stride, self.param.reverse, self.order)
        return top

    def to_onnx(self, builder: OnnxBuilder, *bottoms: Tensor) -> Tensor:
        self._check_written()
        return source_parts.reorg(bottoms[0], self.param.stride, self.param.reverse)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        self._check_written()
        return Source(call(builder.part(source_parts.reorg), "{0}", str(self.param.stride), str(self.param.reverse)))

    def _check_written(self) -> None:
        if self.order is not None:
            raise self.error(f"of channels that are no multiple of {self.param.stride**2} it can only be computed here")
