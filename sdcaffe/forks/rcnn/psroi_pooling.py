"""PSROIPooling: position-sensitive means of a grid over each region of interest."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from sdcaffe import proto
from sdcaffe.forks.rcnn import source_parts
from sdcaffe.layers.base import Layer, OnnxBuilder, Shape, Source, SourceBuilder, call, number, register, show_shape


class PSROIPoolingParameter:
    spatial_scale: float
    output_dim: int
    group_size: int


@register("PSROIPooling", field="psroi_pooling_param", number=10001)
class PSROIPooling(Layer):
    """Each region of a bottom (n, output_dim * group_size^2, h, w) as a grid (group_size, group_size) of means.

    As in R-FCN (microsoft/caffe@70f521f). Each cell of the grid has channels of its own. The second bottom has a
    region a row, (regions, 5): the item of the batch, then x1, y1, x2, y2 in the image, rounded, and the last pixel
    counted in; they are times spatial_scale. Cells off the image are 0. The top is (regions, output_dim, group_size,
    group_size). No gradient goes to the regions. Raises LayerError for an item there is not.
    """

    param: proto.PSROIPoolingParameter
    Param = PSROIPoolingParameter
    bottoms = 2
    index_bottoms = (1,)
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        bottom, regions = bottom_shapes
        param = self.param
        for field in ("spatial_scale", "output_dim", "group_size"):
            if not getattr(param, field) > 0:
                raise self.error(f"{field} must be given and above 0", field)
        channels = param.output_dim * param.group_size**2
        if len(bottom) != 4 or bottom[1] != channels:
            raise self.error(
                f"needs a bottom (n, {channels}, h, w), output_dim times group_size squared, not {show_shape(bottom)}"
            )
        if not regions or math.prod(regions[1:]) != 5:
            raise self.error(f"needs regions of 5 numbers (item, x1, y1, x2, y2), not {show_shape(regions)}")
        return [(regions[0], param.output_dim, param.group_size, param.group_size)]

    def forward(self, bottom: Tensor, regions: Tensor) -> Tensor:
        items = regions.reshape(-1, 5)[:, 0]
        if ((items < 0) | (items >= bottom.shape[0])).any():
            raise self.error(
                f"a region is of item {float(items.max()):g}, but the batch has 0 to {bottom.shape[0] - 1}"
            )
        return self._pooled(bottom, regions)

    def _pooled(self, bottom: Tensor, regions: Tensor) -> Tensor:
        return source_parts.position_sensitive_pool(bottom, regions, self.param.spatial_scale, self.param.group_size)

    def to_onnx(self, builder: OnnxBuilder, *bottoms: Tensor) -> Tensor:
        return self._pooled(*bottoms)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        part = builder.part(source_parts.position_sensitive_pool)
        return Source(call(part, "{0}", "{1}", number(self.param.spatial_scale), str(self.param.group_size)))

    def example(self, index: int, shapes: list[Shape], random: np.random.Generator) -> np.ndarray | None:
        if index != 1:
            return None
        size = min(shapes[0][2:]) / 2 / self.param.spatial_scale
        corners = random.uniform(0, size, (shapes[1][0], 2))
        return np.concatenate([np.zeros((shapes[1][0], 1)), corners, corners + size / 2], 1).reshape(shapes[1])
