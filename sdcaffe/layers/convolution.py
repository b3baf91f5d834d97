"""Convolution over any number of spatial axes. The engine a prototxt asks for is accepted and ignored."""

from __future__ import annotations

import math

from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers import places, spatial
from sdcaffe.layers.base import Layer, Shape, Source, SourceBuilder, call, canonical_axis, pair, register, show_shape
from sdcaffe.layers.places import Places


@register("Convolution", field="convolution_param")
class Convolution(Layer):
    """Convolves each bottom (..., c, *spatial) with the same weights; c is at `axis`, 1 by default.

    Blob 0 is the weight (num_output, c / group, *kernel), blob 1 the bias (num_output,).
    Raises LayerError for sizes that do not fit, and for a group that does not divide c and num_output.
    """

    param: proto.ConvolutionParameter
    bottoms = (1, None)
    tops = (1, None)
    same_tops = True
    lends_top = True
    fresh_gradient = True

    torch_names = (("weight", "bias"), ("weight",))
    blob_axes = {"bias": 1}
    drawn_as = "convolution"

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        bottom, param = bottom_shapes[0], self.param
        for other in bottom_shapes[1:]:
            if other != bottom:
                shapes = f"{show_shape(bottom)} and {show_shape(other)}"
                raise self.error(f"all bottoms must have one shape, not {shapes}", "bottom")
        self.axis = canonical_axis(self, param.axis, len(bottom))
        self.geometry = self.placed(bottom[self.axis + 1 :])
        channels = bottom[self.axis]
        outputs, self.group = self.counts(channels)
        if outputs < 1:
            raise self.error("num_output must be at least 1", "num_output")
        if self.group < 1 or channels % self.group or outputs % self.group:
            raise self.error(
                f"channels (={channels}) and num_output (={outputs}) must be multiples of group (={self.group})",
                "group",
            )
        sizes = self.top_sizes(bottom[self.axis + 1 :])
        spatial.check_sizes(self, bottom, self.axis, sizes)
        self.blob(0, (*self.weight_channels(channels, outputs), *self.geometry.kernel), param.weight_filler)
        if param.bias_term:
            self.blob(1, (outputs,), param.bias_filler)
        return [(*bottom[: self.axis], outputs, *sizes)] * len(bottom_shapes)

    @property
    def linear(self) -> bool:
        return self.axis == 1

    def placed(self, sizes: Shape) -> spatial.Geometry:
        """Where the windows lie on a bottom of these spatial sizes."""
        return spatial.read_geometry(self, len(sizes))

    def counts(self, channels: int) -> tuple[int, int]:
        """How many channels the top has, and how many groups there are, for those of the bottom."""
        return self.param.num_output, self.param.group

    def top_sizes(self, sizes: Shape) -> Shape:
        """Spatial sizes of the top for those of the bottom."""
        return self.geometry.convolved(sizes)

    def weight_channels(self, channels: int, outputs: int) -> Shape:
        """The weight's first two axes."""
        return outputs, channels // self.group

    def compute(self, bottom: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The top of one bottom (n, c, *spatial)."""
        return spatial.convolve(bottom, weight, bias, self.geometry, self.group)

    def forward(self, *bottoms: Tensor) -> Tensor | tuple[Tensor, ...]:
        weight = self.blobs[0]
        bias = self.blobs[1] if len(self.blobs) > 1 else None
        compute = self.compute if self.axis == 1 else self._at_axis
        if len(bottoms) == 1:
            return compute(bottoms[0], weight, bias)
        return tuple(compute(bottom, weight, bias) for bottom in bottoms)

    def _at_axis(self, bottom: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """All axes before the channels are one batch axis to the computation."""
        top = self.compute(bottom.reshape(-1, *bottom.shape[self.axis :]), weight, bias)
        return top.reshape(*bottom.shape[: self.axis], *top.shape[1:])

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        geometry = self.geometry
        missing = [max(0, -spare) for spare in geometry.spare(bottoms[0][2:])]
        module = self.torch_module(f"nn.Conv{len(missing)}d", bottoms[0][1], self.blobs[0].shape[0])
        sides = [n for size in reversed(missing) for n in (0, size)]
        if geometry.pad != geometry.behind:
            sides = [size + own for size, own in zip(sides, geometry.sides, strict=True)]
        if any(sides):  # Caffe reads zeros behind an image that is smaller than the kernel
            return Source(f"{{self}}(F.pad({{0}}, {tuple(sides)}))", module, nests=False, each=True)
        return Source("{self}({0})", module, nests=False, each=True)

    def torch_module(self, cls: str, inputs: int, outputs: int) -> str:
        """The torch module of this geometry, without padding that is not alike on both sides. Raises LayerError."""
        geometry = self.geometry
        axes = len(geometry.kernel)
        if self.axis != 1 or not 1 <= axes <= 3:
            raise self.unwritten(f"a convolution of {axes} spatial axes from axis {self.axis + 1} on")
        return call(
            cls,
            str(inputs),
            str(outputs),
            pair(geometry.kernel),
            stride=pair(geometry.stride) if set(geometry.stride) != {1} else None,
            padding=pair(geometry.pad) if any(geometry.pad) and geometry.pad == geometry.behind else None,
            dilation=pair(geometry.dilation) if set(geometry.dilation) != {1} else None,
            groups=str(self.group) if self.group != 1 else None,
            bias=None if len(self.blobs) > 1 else "False",
        )

    def multiply_adds(self, bottoms: list[Shape], tops: list[Shape]) -> int:
        return sum(map(math.prod, tops)) * math.prod(self.blobs[0].shape[1:])

    @classmethod
    def settings(cls, layer_param: proto.LayerParameter) -> list[str]:
        return spatial.settings(layer_param.convolution_param)

    @classmethod
    def places(cls, layer_param: proto.LayerParameter) -> Places | None:
        return places.convolved(layer_param.convolution_param)
