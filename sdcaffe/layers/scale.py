"""Scale: multiplies part of the axes of a blob by a learned or a computed one, and may add a learned bias."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers import source_parts
from sdcaffe.layers.base import Affine, Layer, OnnxBuilder, Shape, Source, SourceBuilder, register
from sdcaffe.layers.bias import aligned, spanned, spanning, trailed


@register("Scale", field="scale_param")
class Scale(Layer):
    """y = x * s (+ b), with s and b spanning num_axes axes (1 by default, -1 to the end) from `axis` (1) on.

    s is blob 0, filled with 1 without a filler, or bottom 1 where there is one; its own shape then says
    which axes it spans. b, where bias_term, is the last blob, of the same shape.
    Raises LayerError where s does not match the bottom.
    """

    param: proto.ScaleParameter
    bottoms = (1, 2)
    in_place = True
    keeps_places = True
    lends_top = True

    torch_names = (("weight", "bias"), ("weight",))

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        bottom, param = bottom_shapes[0], self.param
        if len(bottom_shapes) > 1:
            operand = bottom_shapes[1]
        else:
            operand = spanned(self, bottom, param.axis, param.num_axes)
            one = proto.FillerParameter(type="constant", value=1)
            self.blob(0, operand, param.filler if param.HasField("filler") else one)
        self.view = aligned(self, bottom, param.axis, operand)
        self.by_channel = len(bottom_shapes) == 1 and param.axis == 1 and len(operand) == 1
        self.bias_term: bool = param.bias_term
        if self.bias_term:
            self.blob(2 - len(bottom_shapes), operand, param.bias_filler)
        return [bottom]

    def affine(self, blobs: Sequence[Tensor]) -> Affine | None:
        if not self.by_channel:
            return None
        return Affine(blobs[0], bias=blobs[1] if self.bias_term else None)

    def forward(self, bottom: Tensor, scale: Tensor | None = None) -> Tensor:
        scale = (self.blobs[0] if scale is None else scale).reshape(self.view)
        if not self.bias_term:
            return bottom * scale
        return torch.addcmul(self.blobs[-1].reshape(self.view), bottom, scale)

    def to_onnx(self, builder: OnnxBuilder, *bottoms: Tensor) -> Tensor:
        """As two operators; what forward does, in one, is exported as three."""
        blobs = list(builder.blobs)
        if len(bottoms) == 1:
            top = bottoms[0] * blobs[0].reshape(self.view)
        else:
            factor = bottoms[1]
            top = bottoms[0] * factor.reshape(*factor.shape, *[1] * (len(self.view) - factor.dim()))
        return top + blobs[-1].reshape(self.view) if self.bias_term else top

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        if len(bottoms) == 2:
            if self.bias_term:
                raise self.unwritten("a Scale of two bottoms with a bias")
            return Source(f"{{0}} * {trailed(self.view, bottoms[1])}", nests=False)
        cls = builder.part(source_parts.Scale)
        return Source("{self}({0})", spanning(cls, self.blobs[0], self.view, bias=None if self.bias_term else "False"))
