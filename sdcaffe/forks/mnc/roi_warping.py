"""ROIWarping: regions of interest laid over a grid, linear between pixels, with a gradient to the regions."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from sdcaffe import proto
from sdcaffe.forks.mnc import source_parts
from sdcaffe.layers.base import Layer, OnnxBuilder, Shape, Source, SourceBuilder, call, number, register, show_shape


class ROIWarpingParameter:
    pooled_h: int = 0
    pooled_w: int = 0
    spatial_scale: float = 1.0


@register("ROIWarping", field="roi_warping_param", number=11870)
class ROIWarping(Layer):
    """Each region of a bottom (n, c, h, w) as a grid (pooled_h, pooled_w) of points, linear between pixels.

    As in MNC (daijifeng001/caffe-mnc@b7bdfee). The second bottom has a region a row, (regions, 5): the item of the
    batch, then x1, y1, x2, y2 in the image; times spatial_scale and rounded they are edges a and b. Point i lies at
    a + i (b - a) / pooled; more than half a pixel off the image it is 0. The top is (regions, c, pooled_h, pooled_w).
    The gradients are the fork's: that to the bottom looks for the points of a pixel by a cell of (b - a + 1) / pooled,
    and so misses the last of a grid that is finer than the pixels; that to the regions is as if nothing were rounded.
    Raises LayerError for an item there is not.
    """

    param: proto.ROIWarpingParameter
    Param = ROIWarpingParameter
    bottoms = 2
    fixes = "size"
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        bottom, regions = bottom_shapes
        self.size = [int(self.param.pooled_h), int(self.param.pooled_w)]
        if min(self.size) < 1:
            raise self.error("pooled_h and pooled_w must be above 0", "pooled_h")
        if len(bottom) != 4:
            raise self.error(f"needs a bottom (n, c, h, w), not {show_shape(bottom)}")
        if len(regions) < 2 or math.prod(regions[1:]) != 5:
            raise self.error(f"needs regions of 5 numbers (item, x1, y1, x2, y2), not {show_shape(regions)}")
        return [(regions[0], bottom[1], *self.size)]

    def forward(self, bottom: Tensor, regions: Tensor) -> Tensor:
        items = regions.reshape(len(regions), 5)[:, 0]
        if ((items < 0) | (items >= bottom.shape[0])).any():
            raise self.error(
                f"a region is of item {float(items.max()):g}, but the batch has 0 to {bottom.shape[0] - 1}"
            )
        return self._warped(bottom, regions)

    def _warped(self, bottom: Tensor, regions: Tensor) -> Tensor:
        return source_parts.warp_regions(bottom, regions, self.size, self.param.spatial_scale)

    def to_onnx(self, builder: OnnxBuilder, *bottoms: Tensor) -> Tensor:
        return self._warped(*bottoms)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        builder.part(source_parts.corners)
        builder.part(source_parts.region_axis)
        part = builder.part(source_parts.warp_regions)
        return Source(call(part, "{0}", "{1}", str(self.size), number(self.param.spatial_scale)))

    def example(self, index: int, shapes: list[Shape], random: np.random.Generator) -> np.ndarray | None:
        if index != 1:
            return None
        size = min(shapes[0][2:]) / 2 / max(self.param.spatial_scale, 1e-3)
        edges = random.uniform(0, size, (shapes[1][0], 2))
        return np.concatenate([np.zeros((shapes[1][0], 1)), edges, edges + size / 2], 1).reshape(shapes[1])
