"""Tile: a blob repeated along one axis."""

from __future__ import annotations

from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import Layer, Shape, Source, SourceBuilder, canonical_axis, register


@register("Tile", field="tile_param")
class Tile(Layer):
    """`tiles` copies of the bottom, one after the other along `axis`."""

    param: proto.TileParameter

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        (shape,) = bottom_shapes
        self.axis = canonical_axis(self, self.param.axis, len(shape))
        self.count = self.param.tiles
        if self.count <= 0:
            raise self.error(f"tiles (={self.count}) must be given, and positive", "tiles")
        return [(*shape[: self.axis], shape[self.axis] * self.count, *shape[self.axis + 1 :])]

    def forward(self, bottom: Tensor) -> Tensor:
        times = [1] * bottom.dim()
        times[self.axis] = self.count
        return bottom.repeat(times)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        times = ["1"] * len(bottoms[0])
        times[self.axis] = str(self.count)
        return Source(f"torch.tile({{0}}, ({', '.join(times)}{',' if len(times) == 1 else ''}))")

    @classmethod
    def mixes_items(cls, layer_param: proto.LayerParameter) -> bool:
        return layer_param.tile_param.axis == 0
