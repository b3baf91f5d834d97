"""Crop a bottom to the size of another."""

from __future__ import annotations

from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers import places
from sdcaffe.layers.base import Layer, OnnxBuilder, Shape, Source, SourceBuilder, canonical_axis, register, show_shape
from sdcaffe.layers.places import Places


@register("Crop", field="crop_param")
class Crop(Layer):
    """Bottom 0 cut to bottom 1's sizes from `axis` (2 by default) on, starting at `offset`.

    One offset holds for every axis from there on, none means 0. Bottom 1 gives its shape only and gets no
    gradient; axes that it has beyond bottom 0's do not count.
    Raises LayerError where the cut would leave the bottom, or for another number of offsets.
    """

    param: proto.CropParameter
    bottoms = 2

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        bottom, size = bottom_shapes
        dims = len(bottom)
        if len(size) < dims:
            raise self.error(f"bottom 1 needs as many axes: {show_shape(bottom)} and {show_shape(size)}", "bottom")
        start = canonical_axis(self, self.param.axis, dims)
        given = list(self.param.offset) or [0]
        if len(given) not in (1, dims - start):
            raise self.error(
                f"offset is given {len(given)} times; give it once, or once for each of the {dims - start} axes "
                f"from axis {start} on",
                "offset",
            )
        offsets = given * (dims - start) if len(given) == 1 else given
        for axis, offset in enumerate(offsets, start):
            if offset + size[axis] > bottom[axis]:
                raise self.error(
                    f"axis {axis} of the bottom has {bottom[axis]} values: offset {offset} and size {size[axis]} "
                    "leave it",
                    "offset",
                )
        self.cut = [(axis, offset, size[axis]) for axis, offset in enumerate(offsets, start)]
        return [bottom[:start] + size[start:dims]]

    def forward(self, bottom: Tensor, size: Tensor) -> Tensor:
        for axis, offset, length in self.cut:
            bottom = bottom.narrow(axis, offset, length)
        return bottom

    def to_onnx(self, builder: OnnxBuilder, *bottoms: Tensor) -> Tensor:
        bottom, size = bottoms
        for axis, offset, _ in self.cut:
            bottom = bottom.narrow(axis, offset, size.shape[axis])
        return bottom

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        if not self.cut:
            return Source("{0}", nests=False)
        spans = []
        for axis, offset, _ in self.cut:
            size = f"{{1}}.shape[{axis}]"
            spans.append(f"{offset} : {offset} + {size}" if offset else f": {size}")
        return Source("{0}[" + ", ".join([":"] * self.cut[0][0] + spans) + "]", nests=False)

    @classmethod
    def places(cls, layer_param: proto.LayerParameter) -> Places | None:
        return places.cropped(layer_param.crop_param)

    @classmethod
    def mixes_items(cls, layer_param: proto.LayerParameter) -> bool:
        return layer_param.crop_param.axis == 0
