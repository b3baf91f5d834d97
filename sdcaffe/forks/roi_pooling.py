"""ROIPooling: the maxima of a grid over each region of interest."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from sdcaffe import proto
from sdcaffe.forks import source_parts
from sdcaffe.layers.base import Layer, OnnxBuilder, Shape, Source, SourceBuilder, call, number, register, show_shape


class ROIPoolingParameter:
    pooled_h: int = 0
    pooled_w: int = 0
    spatial_scale: float = 1.0


@register("ROIPooling", field="roi_pooling_param", number=8266711)
class ROIPooling(Layer):
    """Each region of a bottom (n, c, h, w) as a grid (pooled_h, pooled_w) of maxima, as in Fast R-CNN.

    The second bottom has a region a row, (regions, 5): the item of the batch, then x1, y1, x2, y2 in the
    image; times spatial_scale and rounded they are the first and the last pixels. The cells of the grid
    overlap where the region's size is no multiple of its; those off the image are 0. The top is (regions,
    c, pooled_h, pooled_w). No gradient goes to the regions. Raises LayerError for an item there is not.
    """

    param: proto.ROIPoolingParameter
    origin = "Fast R-CNN"

    Param = ROIPoolingParameter
    bottoms = 2
    index_bottoms = (1,)
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        bottom, regions = bottom_shapes
        param = self.param
        if min(param.pooled_h, param.pooled_w) < 1:
            raise self.error(
                f"pooled_h (={param.pooled_h}) and pooled_w (={param.pooled_w}) must be above 0", "pooled_h"
            )
        if not param.spatial_scale > 0:
            raise self.error(f"spatial_scale must be above 0, not {param.spatial_scale:g}", "spatial_scale")
        if len(bottom) != 4:
            raise self.error(f"needs a bottom (n, c, h, w), not {show_shape(bottom)}")
        if len(regions) < 2 or math.prod(regions[1:]) != 5:
            raise self.error(f"needs regions of 5 numbers (item, x1, y1, x2, y2), not {show_shape(regions)}")
        return [(regions[0], bottom[1], param.pooled_h, param.pooled_w)]

    def forward(self, bottom: Tensor, regions: Tensor) -> Tensor:
        from torchvision.ops import roi_pool

        param = self.param
        regions = regions.reshape(-1, 5)
        items = regions[:, 0]
        if ((items < 0) | (items >= bottom.shape[0])).any():
            raise self.error(
                f"a region is of item {float(items.max()):g}, but the batch has 0 to {bottom.shape[0] - 1}"
            )
        top: Tensor = roi_pool(bottom, regions, (param.pooled_h, param.pooled_w), param.spatial_scale)
        return top

    def to_onnx(self, builder: OnnxBuilder, *bottoms: Tensor) -> Tensor:
        """By the operator MaxRoiPool, which was defined as Caffe's."""
        bottom, regions = bottoms
        param = self.param
        pooled = [param.pooled_h, param.pooled_w]
        shape = (regions.shape[0], bottom.shape[1], *pooled)
        inputs, scale = [bottom, regions.flatten(1)], param.spatial_scale
        return builder.operator("MaxRoiPool", inputs, shape, pooled_shape=pooled, spatial_scale=scale)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        param = self.param
        size = f"[{param.pooled_h}, {param.pooled_w}]"
        return Source(
            call(builder.part(source_parts.region_maxima), "{0}", "{1}", size, number(param.spatial_scale)), nests=False
        )

    def example(self, index: int, shapes: list[Shape], random: np.random.Generator) -> np.ndarray | None:
        if index != 1:
            return None
        size = min(shapes[0][2:]) / 2 / max(self.param.spatial_scale, 1e-3)
        corners = random.uniform(0, size, (shapes[1][0], 2))
        return np.concatenate([np.zeros((shapes[1][0], 1)), corners, corners + size / 2], 1).reshape(shapes[1])
