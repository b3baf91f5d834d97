"""Convolution3D: C3D's convolution over length, height and width."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from sdcaffe import proto
from sdcaffe.forks.c3d import source_parts
from sdcaffe.layers.base import Layer, Shape, Source, SourceBuilder, register, show_shape


class Convolution3DParameter:
    num_output: int
    bias_term: bool = True
    pad: int = 0
    kernel_size: int
    group: int = 1
    kernel_depth: int
    stride: int = 1
    temporal_stride: int = 1
    weight_filler: proto.FillerParameter
    bias_filler: proto.FillerParameter
    filter_group: int = 1
    temporal_pad: int = 0


class _VolumeConvolution(Layer):
    """What both of C3D's messages of fields say, which name them alike."""

    param: Any
    drawn_as = "convolution"
    torch_names = (("weight", "bias"), ("weight",))
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        (bottom,) = bottom_shapes
        param = self.param
        if len(bottom) != 5:
            raise self.error(f"the bottom must have 5 axes (n, c, length, h, w): {show_shape(bottom)}")
        if param.num_output < 1 or param.filter_group < 1 or param.num_output % param.filter_group:
            raise self.error("num_output must be at least 1 and a multiple of filter_group", "num_output")
        size, stride, pad = plane(self)
        if param.kernel_depth < 1 or param.temporal_stride < 1:
            raise self.error("kernel_depth and temporal_stride must be at least 1", "kernel_depth")
        kernel = [int(param.kernel_depth), size, size]
        self.stride, self.pad = [int(param.temporal_stride), stride, stride], [int(param.temporal_pad), pad, pad]
        sides = zip(bottom[2:], kernel, self.stride, self.pad, strict=True)
        tops = [(n + 2 * p - k) // s + 1 for n, k, s, p in sides]
        if min(tops) < 1:
            raise self.error(f"the kernel {kernel} does not fit into the bottom with its padding: {show_shape(bottom)}")
        self.blob(0, (param.num_output, bottom[1], *kernel), param.weight_filler)
        if param.bias_term:
            self.blob(1, (1, 1, 1, 1, param.num_output), param.bias_filler)
        return [(bottom[0], param.num_output, *tops)]

    def forward(self, bottom: Tensor) -> Tensor:
        bias = self.blobs[1].flatten() if len(self.blobs) > 1 else None
        return F.conv3d(bottom, self.blobs[0], bias, self.stride, self.pad)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        part = builder.part(source_parts.VolumeConvolution)
        module = f"{part}({list(self.blobs[0].shape)}, {self.stride}, {self.pad}, {len(self.blobs) > 1})"
        return Source("{self}({0})", module)

    def multiply_adds(self, bottoms: list[Shape], tops: list[Shape]) -> int:
        n, _, *places = tops[0]
        return n * places[0] * places[1] * places[2] * self.blobs[0].numel()


@register("Convolution3D", field="convolution3d_param", number=6661)
class Convolution3D(_VolumeConvolution):
    """(n, c, length, h, w) to (n, num_output, ...) by filters of kernel_depth x kernel_size x kernel_size.

    As in C3D 1.1 (facebook/C3D@71336a2). Blob 0 is the filters (num_output, c, kernel_depth, kernel_size,
    kernel_size), blob 1 the bias (1, 1, 1, 1, num_output). stride and pad are of height and width, temporal_stride and
    temporal_pad of length. filter_group splits the work alone, and group does nothing, there too.
    """

    param: proto.Convolution3DParameter
    Param = Convolution3DParameter


def plane(layer: Layer) -> tuple[int, int, int]:
    """kernel_size, stride and pad of height and width: one number each, where BVLC Caffe's message has lists."""
    found = []
    for field, least in (("kernel_size", 1), ("stride", 1), ("pad", 0)):
        value = getattr(layer.param, field)
        values = [int(value)] if isinstance(value, int) else [int(one) for one in value]
        found += values[:1] or [least]
        if len(values) > 1 or found[-1] < least:
            raise layer.error(f"{field} must be one number, at least {least}", field)
    return found[0], found[1], found[2]


@register(
    "Convolution3D", field="convolution_param", when=lambda layer_param: layer_param.HasField("convolution_param")
)
class Convolution3DOfC3D10(_VolumeConvolution):
    """See Convolution3D: C3D 1.0's CONVOLUTION3D, whose fields stand in convolution_param."""

    origin = "C3D 1.0 (facebook/C3D)"
    param: proto.ConvolutionParameter
