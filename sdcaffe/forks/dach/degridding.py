"""Degridding: each number of a blob spread over a window, the way back of Gridding."""

from __future__ import annotations

from torch import Tensor

from sdcaffe import proto
from sdcaffe.forks.dach import source_parts
from sdcaffe.forks.dach.gridding import GridLayer
from sdcaffe.layers.base import Shape, Source, SourceBuilder, register, show_shape


class DegriddingParameter:
    degridding: str = "incomplete_degridding"
    kernel_c: int = 1
    kernel_h: int = 1
    kernel_w: int = 1
    stride_c: int = 1
    stride_h: int = 1
    stride_w: int = 1
    cutoff_c: int = 0
    cutoff_h: int = 0
    cutoff_w: int = 0
    bias_term: bool = True
    weight_filler: proto.FillerParameter
    bias_filler: proto.FillerParameter


@register("Degridding", field="degridding_param", number=151)
class Degridding(GridLayer):
    """Each number of a bottom (n, c, h, w) times the weights of its window, summed where windows overlap, plus a bias.

    Blob 0 is the weights (c, h, w), as many on each axis as the grid has, blob 1 the bias, of the top's shape.

    As in CAFFE-DACH (JiahaoLi-gdut/CAFFE-DACH@388c826). Of n numbers and windows of k places every s, the top has
    (n - 1) s + k - cutoff places; cutoff must be less than k and s. The gradient is
    the true one.
    """

    param: proto.DegriddingParameter
    Param = DegriddingParameter
    fixes = "size"

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        (bottom,) = bottom_shapes
        if len(bottom) != 4:
            raise self.error(f"the bottom must have 4 axes (n, c, h, w): {show_shape(bottom)}")
        self.kernel, self.stride = self.sizes("kernel"), self.sizes("stride")
        tops = []
        for axis, n, k, s, cut in zip("chw", bottom[1:], self.kernel, self.stride, self.sizes("cutoff"), strict=True):
            if cut >= min(k, s):
                raise self.error(f"cutoff_{axis} (={cut}) must be less than kernel and stride", f"cutoff_{axis}")
            tops.append((n - 1) * s + k - cut)
        self.configure(self.param.degridding, "degridding", list(bottom[1:]), tops, tuple(tops))
        return [(bottom[0], *tops)]

    def forward(self, bottom: Tensor) -> Tensor:
        return self.computed(source_parts.degridded, bottom, self.size)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        return self.written(builder, source_parts.degridded, self.size)
