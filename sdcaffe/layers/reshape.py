"""Reshape: the same values, in NCHW order, under another shape."""

from __future__ import annotations

import math

from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import Layer, Shape, Source, SourceBuilder, register, show_shape


@register("Reshape", field="reshape_param")
class Reshape(Layer):
    """Axes `axis` to `axis` + `num_axes` (-1: to the last) become `shape`; 0 copies an axis, one -1 fits."""

    param: proto.ReshapeParameter
    views = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        self.dims = list(self.param.shape.dim)
        if self.dims.count(-1) > 1:
            raise self.error(f"shape {self.dims} holds -1 more than once", "shape")
        if any(n < -1 for n in self.dims):
            raise self.error(f"shape {self.dims} holds a negative size; only -1 has a meaning", "shape")
        return [self._top_shape(bottom_shapes[0])]

    def _span(self, axes: int) -> tuple[int, int]:
        """The first replaced axis, and the one after the last; a negative `axis` -1 is after the last one."""
        axis, count = self.param.axis, self.param.num_axes
        start = axis if axis >= 0 else axes + axis + 1
        if not 0 <= start <= axes:
            raise self.error(f"axis {axis} is out of range for a bottom of {axes} dimensions", "axis")
        if count < -1:
            raise self.error(f"num_axes (={count}) must be at least 0, or -1 for all to the last", "num_axes")
        end = axes if count == -1 else start + count
        if end > axes:
            raise self.error(
                f"axis (={axis}) and num_axes (={count}) pass the {axes} dimensions of the bottom", "num_axes"
            )
        return start, end

    def _top_shape(self, shape: Shape) -> Shape:
        start, end = self._span(len(shape))
        dims = list(self.dims)
        for i, n in enumerate(dims):
            if n == 0:
                if start + i >= len(shape):
                    raise self.error(f"shape {self.dims} copies axis {start + i}, which the bottom lacks", "shape")
                dims[i] = shape[start + i]
        top = [*shape[:start], *dims, *shape[end:]]
        count = math.prod(shape)
        if -1 in dims:
            known = -math.prod(top)
            if known == 0 or count % known:
                raise self.error(
                    f"no size for -1 in {self.dims} makes {count} values: they are no multiple of {known}", "shape"
                )
            top[top.index(-1)] = count // known
        if math.prod(top) != count:
            raise self.error(f"a bottom of shape {show_shape(shape)} cannot take the shape {show_shape(top)}", "shape")
        return tuple(top)

    def forward(self, bottom: Tensor) -> Tensor:
        return bottom.reshape(self._top_shape(bottom.shape))

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        dims = len(bottoms[0])
        start, end = self._span(dims)
        sizes = [f"{{0}}.shape[{i}]" for i in range(start)]
        sizes += [f"{{0}}.shape[{start + i}]" if n == 0 else str(n) for i, n in enumerate(self.dims)]
        sizes += [f"{{0}}.shape[{i}]" for i in range(end, dims)]
        return Source(f"{{0}}.reshape({', '.join(sizes)})", nests=False)

    @classmethod
    def mixes_items(cls, layer_param: proto.LayerParameter) -> bool:
        param = layer_param.reshape_param
        return param.axis == 0 and bool(param.shape.dim) and param.shape.dim[0] > 0
