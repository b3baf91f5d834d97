"""Mul: a product, number by number, of two blobs whose axes of size 1 are stretched."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sdcaffe import proto
from sdcaffe.layers.base import Layer, Shape, Source, SourceBuilder, register, show_shape


class MulParameter:
    mul_shape: list[int]


class Product(nn.Module):
    """A blob times a learned one of `shape`."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


@register("Mul", field="mul_param", number=278)
class Mul(Layer):
    """Bottom 0 times bottom 1, or times blob 0 of mul_shape where there is one bottom, as numpy broadcasts.

    As in Synopsys' Caffe (synopsys-caffe@977ba36), which has no backward; here both factors get a gradient. Blob 0 is
    zeros until weights are loaded.
    """

    param: proto.MulParameter
    Param = MulParameter
    bottoms = (1, 2)
    torch_names = (("weight",),)
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        factor = bottom_shapes[1] if len(bottom_shapes) == 2 else tuple(self.param.mul_shape)
        try:
            top = tuple(torch.broadcast_shapes(bottom_shapes[0], factor))
        except RuntimeError:
            shapes = f"{show_shape(bottom_shapes[0])} and {show_shape(factor)}"
            raise self.error(f"sizes must be equal or 1, counted from the last axis: {shapes}", "bottom") from None
        if len(bottom_shapes) == 1:
            self.blob(0, self.param.mul_shape)
        return [top]

    def forward(self, bottom: Tensor, factor: Tensor | None = None) -> Tensor:
        product: Tensor = bottom * (self.blobs[0] if factor is None else factor)
        return product

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        if len(bottoms) == 2:
            return Source("{0} * {1}", nests=False)
        shape = ", ".join(map(str, self.param.mul_shape))
        return Source("{self}({0})", f"{builder.part(Product)}({shape})")
