"""ResizeNearestNeighbor: an image of another size, each pixel one of the old ones, as TensorFlow and ONNX have it."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from sdcaffe import proto
from sdcaffe.forks.synopsys.resizing import ResizingLayer, gathered
from sdcaffe.layers.base import Shape, Source, SourceBuilder, call, register


class ResizeNearestNeighborParameter:
    align_corners: bool = False
    output_height: int
    output_width: int
    data_format: str = "NHWC"
    scale_height: float = 1.0
    scale_width: float = 1.0
    half_pixel_centers: bool = False
    half_pixel_onnx: bool = False


@register("ResizeNearestNeighbor", field="resize_nearest_neighbor_param", number=210)
class ResizeNearestNeighbor(ResizingLayer):
    """The top has output_height by output_width pixels, or the bottom's size times scale_height and scale_width.

    As in Synopsys' Caffe (synopsys-caffe@977ba36). Pixel i of the top is pixel floor(i * s) of the bottom, s being the
    old size over the new; with half_pixel_centers floor((i + 1/2) * s); with half_pixel_onnx 1/2 is taken off before;
    with align_corners round(i * s), s being of the sizes less 1. These axes are 1 and 2 unless data_format is NCHW. The
    fork has no backward; here each gradient goes back to its pixel.
    """

    param: proto.ResizeNearestNeighborParameter
    Param = ResizeNearestNeighborParameter
    modes = ("align_corners", "half_pixel_centers", "half_pixel_onnx")
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        (bottom,) = bottom_shapes
        self.axis, high, wide = self.top_size(bottom)
        self.rows = self._places(high, bottom[self.axis])
        self.columns = self._places(wide, bottom[self.axis + 1])
        return [(*bottom[: self.axis], high, wide, *bottom[self.axis + 2 :])]

    def _places(self, wanted: int, size: int) -> list[int]:
        """Which pixel of the bottom each of the top's is."""
        i, scale = self.steps(wanted, size)
        half = np.float32(0.5)
        if self.param.half_pixel_onnx:
            places = np.floor(((i + half) * scale).astype(np.float64) - 0.5)
        elif self.param.half_pixel_centers:
            places = np.floor((i + half) * scale)
        elif self.param.align_corners:
            places = np.floor((i * scale).astype(np.float64) + 0.5)
        else:
            places = np.floor(i * scale)
        return [int(place) for place in places.clip(0, size - 1)]

    def forward(self, bottom: Tensor) -> Tensor:
        return gathered(bottom, self.axis, self.rows, self.columns)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        places = (str(self.axis), str(self.rows), str(self.columns))
        return Source(call(builder.part(gathered), "{0}", *places))
