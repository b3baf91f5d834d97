"""Bias: adds a learned or a computed blob to part of the axes of another."""

from __future__ import annotations

from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers import source_parts
from sdcaffe.layers.base import Layer, Shape, Source, SourceBuilder, call, canonical_axis, register, show_shape


def spanned(layer: Layer, bottom: Shape, axis: int, num_axes: int) -> Shape:
    """The sizes of the `num_axes` axes (-1: all) of a bottom from `axis` on. Raises LayerError beyond its end."""
    start = canonical_axis(layer, axis, len(bottom))
    if num_axes < -1:
        raise layer.error(f"num_axes (={num_axes}) must be at least 0, or -1 for all axes", "num_axes")
    if start + num_axes > len(bottom):
        raise layer.error(
            f"axis {start} and num_axes {num_axes} reach beyond a bottom of {len(bottom)} axes", "num_axes"
        )
    return bottom[start:] if num_axes == -1 else bottom[start : start + num_axes]


def aligned(layer: Layer, bottom: Shape, axis: int, operand: Shape) -> Shape:
    """`operand` with 1s behind it, so that it broadcasts against a bottom from `axis` on; a scalar stays one.

    Raises LayerError where the sizes differ or reach beyond the bottom.
    """
    if not operand:
        return ()
    start = canonical_axis(layer, axis, len(bottom))
    if bottom[start : start + len(operand)] != operand:
        raise layer.error(
            f"a blob of shape {show_shape(operand)} does not match bottom {show_shape(bottom)} from axis {start} on",
            "axis",
        )
    return operand + (1,) * (len(bottom) - start - len(operand))


def trailed(view: Shape, operand: Shape) -> str:
    """In source, the second bottom with as many axes of 1 behind it as `view` has."""
    trailing = len(view) - len(operand)
    return "{1}[..., " + ", ".join(["None"] * trailing) + "]" if trailing else "{1}"


def spanning(cls: str, blob: Tensor, view: Shape, **named: str | None) -> str:
    """In source, a module of class `cls` with the shape of a blob that is read as `view`."""
    shape = tuple(blob.shape)
    trailing = len(view) - len(shape)
    return call(cls, *map(str, shape), trailing=str(trailing) if trailing != 2 else None, **named)


@register("Bias", field="bias_param")
class Bias(Layer):
    """y = x + b, with b spanning num_axes axes (1 by default, -1 to the end) from `axis` (1) on.

    b is blob 0, or bottom 1 where there is one; its own shape then says which axes it spans.
    Raises LayerError where b does not match the bottom.
    """

    param: proto.BiasParameter
    bottoms = (1, 2)
    in_place = True
    keeps_places = True

    torch_names = (("bias",),)

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        bottom, param = bottom_shapes[0], self.param
        if len(bottom_shapes) > 1:
            operand = bottom_shapes[1]
        else:
            operand = spanned(self, bottom, param.axis, param.num_axes)
            self.blob(0, operand, param.filler)
        self.view = aligned(self, bottom, param.axis, operand)
        return [bottom]

    def forward(self, bottom: Tensor, bias: Tensor | None = None) -> Tensor:
        bias = self.blobs[0] if bias is None else bias
        return bottom + bias.reshape(*bias.shape, *[1] * (len(self.view) - bias.dim())) if self.view else bottom + bias

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        if len(bottoms) == 2:
            return Source(f"{{0}} + {trailed(self.view, bottoms[1])}", nests=False)
        return Source("{self}({0})", spanning(builder.part(source_parts.Bias), self.blobs[0], self.view))
