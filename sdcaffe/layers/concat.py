"""Concat: bottoms joined along one axis. slice.py is the way back."""

from __future__ import annotations

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import Layer, Shape, Source, SourceBuilder, canonical_axis, register, show_shape


@register("Concat", field="concat_param")
class Concat(Layer):
    """Bottoms that agree on every axis but `axis` (or the older `concat_dim`), one after the other."""

    param: proto.ConcatParameter
    bottoms = (1, None)

    keeps_values = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        first = bottom_shapes[0]
        self.axis = joined_axis(self, "concat_dim", len(first))
        for i, shape in enumerate(bottom_shapes):
            same = len(shape) == len(first) and all(
                n == m for axis, (n, m) in enumerate(zip(shape, first, strict=True)) if axis != self.axis
            )
            if not same:
                raise self.error(
                    f"bottom {i} has shape {show_shape(shape)}, but bottom 0 has {show_shape(first)}; "
                    f"they may differ on axis {self.axis} only"
                )
        total = sum(shape[self.axis] for shape in bottom_shapes)
        return [(*first[: self.axis], total, *first[self.axis + 1 :])]

    def forward(self, *bottoms: Tensor) -> Tensor:
        return bottoms[0] if len(bottoms) == 1 else torch.cat(bottoms, self.axis)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        if len(bottoms) == 1:
            return Source("{0}")
        return Source(f"torch.cat(({', '.join(f'{{{i}}}' for i in range(len(bottoms)))}), {self.axis})", nests=False)

    @classmethod
    def mixes_items(cls, layer_param: proto.LayerParameter) -> bool:
        param = layer_param.concat_param
        return (param.concat_dim if param.HasField("concat_dim") else param.axis) == 0


def joined_axis(layer: Layer, legacy_field: str, dims: int) -> int:
    """`axis`, or the older `legacy_field` (which is never negative), of a Concat or Slice layer.

    Raises LayerError where both are given or the axis is out of range.
    """
    if not layer.param.HasField(legacy_field):
        return canonical_axis(layer, layer.param.axis, dims)
    if layer.param.HasField("axis"):
        raise layer.error(f'give "axis" or "{legacy_field}", not both', legacy_field)
    axis = getattr(layer.param, legacy_field)
    if axis >= dims:
        raise layer.error(f"{legacy_field} {axis} is out of range for a bottom of {dims} dimensions", legacy_field)
    return axis
