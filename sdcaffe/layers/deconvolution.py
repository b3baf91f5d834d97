"""Deconvolution, the transpose of a convolution, over any number of spatial axes."""

from __future__ import annotations

import math

from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers import places, spatial
from sdcaffe.layers.base import Shape, Source, SourceBuilder, register
from sdcaffe.layers.convolution import Convolution
from sdcaffe.layers.places import Places


@register("Deconvolution", field="convolution_param")
class Deconvolution(Convolution):
    """Multiplies each value by the kernel and adds what overlaps: a convolution's backward as a forward.

    Blob 0 is the weight (c, num_output / group, *kernel), blob 1 the bias (num_output,).
    The top's sizes are stride * (n - 1) + dilation * (kernel - 1) + 1 - 2 * pad.
    """

    lends_top = True

    @property
    def linear(self) -> bool:
        return self.axis == 1

    def times(self, weight: Tensor, factor: Tensor) -> Tensor:
        inputs, outputs = weight.shape[:2]  # a group's outputs go with its own inputs
        grouped = weight.reshape(self.group, inputs // self.group, outputs, -1)
        return (grouped * factor.reshape(self.group, 1, outputs, 1)).reshape(weight.shape)

    def top_sizes(self, sizes: Shape) -> Shape:
        return self.geometry.transposed(sizes)

    def weight_channels(self, channels: int, outputs: int) -> Shape:
        return channels, outputs // self.group

    def compute(self, bottom: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return spatial.transpose(bottom, weight, bias, self.geometry, self.group)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        cls = f"nn.ConvTranspose{len(self.geometry.kernel)}d"
        module = self.torch_module(cls, bottoms[0][1], self.blobs[0].shape[1] * self.group)
        geometry = self.geometry
        if geometry.pad == geometry.behind:
            return Source("{self}({0})", module, nests=False, each=True)
        if min(geometry.sides) < 0 and len(self.blobs) > 1:
            raise self.unwritten("a bias with negative padding")
        sides = tuple(-size for size in geometry.sides)
        return Source(f"F.pad({{self}}({{0}}), {sides})", module, nests=False, each=True)

    def multiply_adds(self, bottoms: list[Shape], tops: list[Shape]) -> int:
        return sum(map(math.prod, bottoms)) * math.prod(self.blobs[0].shape[1:])

    @classmethod
    def places(cls, layer_param: proto.LayerParameter) -> Places | None:
        return places.convolved(layer_param.convolution_param).inverse()
