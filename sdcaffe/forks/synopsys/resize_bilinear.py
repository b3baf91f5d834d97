"""ResizeBilinear: an image of another size, each pixel between four old ones, as TensorFlow and ONNX have it."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from torch import Tensor

from sdcaffe import proto
from sdcaffe.forks.synopsys.resizing import ResizingLayer, lerped
from sdcaffe.layers.base import Shape, Source, SourceBuilder, call, register


class ResizeBilinearParameter:
    align_corners: bool = False
    output_height: int
    output_width: int
    data_format: str = "NHWC"
    scale_height: float = 1.0
    scale_width: float = 1.0
    half_pixel_centers: bool = False
    pytorch_half_pixel: bool = False
    output_depth: int
    scale_depth: float = 1.0
    input_scale: Annotated[float, 20] = 1.0
    output_scale: float = 1.0
    input_zero_point: int = 0
    output_zero_point: int = 0


@register("ResizeBilinear", field="resize_bilinear_param", number=226)
class ResizeBilinear(ResizingLayer):
    """The top has output_height by output_width pixels, or the bottom's size times scale_height and scale_width.

    As in Synopsys' Caffe (synopsys-caffe@977ba36). Pixel i of the top stands at i * s of the bottom, s being the old
    size over the new; with align_corners s is of the sizes less 1; with half_pixel_centers or pytorch_half_pixel it
    stands at (i + 1/2) * s - 1/2. It is weighed from the pixels before and after that place. These axes are 1 and 2
    unless data_format is NCHW; NCHWD, and scales and zero points of 8-bit nets, are refused. The fork has no backward;
    here the gradient is the true one.
    """

    param: proto.ResizeBilinearParameter
    Param = ResizeBilinearParameter
    modes = ("align_corners", "half_pixel_centers", "pytorch_half_pixel")
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        (bottom,) = bottom_shapes
        param = self.param
        if param.data_format not in ("NHWC", "NCHW"):
            raise self.error(f"data_format must be NHWC or NCHW, not {param.data_format}", "data_format")
        for field, plain in (
            ("input_scale", 1),
            ("output_scale", 1),
            ("input_zero_point", 0),
            ("output_zero_point", 0),
        ):
            if getattr(param, field) != plain:
                raise self.error(f"{field} is of 8-bit nets, which are not computed here", field)
        self.axis, high, wide = self.top_size(bottom)
        self.rows = self._places(high, bottom[self.axis])
        self.columns = self._places(wide, bottom[self.axis + 1])
        return [(*bottom[: self.axis], high, wide, *bottom[self.axis + 2 :])]

    def _places(self, wanted: int, size: int) -> list[tuple[int, int, float]]:
        """The pixels before and after each place, and how much the second weighs."""
        i, scale = self.steps(wanted, size)
        half = np.float32(0.5)
        place = i * scale
        if self.param.half_pixel_centers or self.param.pytorch_half_pixel:
            place = (i + half) * scale - half
        if self.param.pytorch_half_pixel and wanted == 1:
            place = np.full(1, -0.5, np.float32)
        low = np.floor(place)
        lower, upper = np.maximum(low, 0).astype(int), np.minimum(np.ceil(place), size - 1).astype(int)
        return [(int(a), int(b), float(c)) for a, b, c in zip(lower, upper, place - low, strict=True)]

    def forward(self, bottom: Tensor) -> Tensor:
        return lerped(bottom, self.axis, self.rows, self.columns)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        places = (str(self.axis), str(self.rows), str(self.columns))
        return Source(call(builder.part(lerped), "{0}", *places))
