"""ArgMax: the places of the greatest values, or the values. Not differentiable."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import Layer, OnnxBuilder, Shape, Source, SourceBuilder, canonical_axis, register


@register("ArgMax", field="argmax_param")
class ArgMax(Layer):
    """The `top_k` greatest, in falling order; of equal values the later place comes first, as in Caffe.

    With `axis`, that axis of the top holds their places along it (or, with `out_max_val`, their values).
    Without, each item of the first axis is one row, and the top is (n, 1, top_k): places within the row;
    with `out_max_val` it is (n, 2, top_k): places, then values. A bottom of more axes gives ones at the end, one of a
    single axis has rows of one value.
    """

    param: proto.ArgMaxParameter
    chooses = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        (shape,) = bottom_shapes
        self.axis = canonical_axis(self, self.param.axis, len(shape)) if self.param.HasField("axis") else None
        candidates = math.prod(shape[1:]) if self.axis is None else shape[self.axis]
        top_k = self.param.top_k
        if not 1 <= top_k <= candidates:
            raise self.error(f"top_k (={top_k}) must be from 1 to the {candidates} values compared", "top_k")
        return [self._top_shape(shape)]

    def _top_shape(self, shape: Shape) -> Shape:
        if self.axis is not None:
            return (*shape[: self.axis], self.param.top_k, *shape[self.axis + 1 :])
        rows = 2 if self.param.out_max_val else 1
        return (shape[0], rows, self.param.top_k, *(1 for _ in shape[3:]))

    @torch.no_grad()
    def forward(self, bottom: Tensor) -> Tensor:
        values = _rows(bottom) if self.axis is None else bottom
        axis = 1 if self.axis is None else self.axis
        # A stable sort of the reversed axis puts the later of equals first.
        greatest, order = values.flip(axis).sort(dim=axis, descending=True, stable=True)
        greatest = greatest.narrow(axis, 0, self.param.top_k)
        place = (values.shape[axis] - 1 - order.narrow(axis, 0, self.param.top_k)).to(bottom.dtype)
        if self.axis is not None:
            return greatest if self.param.out_max_val else place
        top = torch.stack([place, greatest], 1) if self.param.out_max_val else place
        return top.reshape(self._top_shape(bottom.shape))

    def to_onnx(self, builder: OnnxBuilder, *bottoms: Tensor) -> Tensor:
        """Of equals ONNX takes the first, so the axis is turned round for Caffe's last."""
        (bottom,) = bottoms
        values = _rows(bottom) if self.axis is None else bottom
        axis = 1 if self.axis is None else self.axis
        greatest, order = values.flip(axis).topk(self.param.top_k, axis)
        place = (values.shape[axis] - 1 - order).to(bottom.dtype)
        if self.axis is not None:
            return greatest if self.param.out_max_val else place
        top = torch.stack([place, greatest], 1) if self.param.out_max_val else place.unsqueeze(1)
        return top.reshape(*top.shape, *[1] * max(0, bottom.dim() - 3))

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        if self.axis is None or self.param.top_k != 1 or self.param.out_max_val:
            raise self.unwritten("an ArgMax of other than the one greatest place along an axis")
        axis = self.axis  # turned round: of equal values torch takes the first and Caffe the last
        place = f"torch.argmax({{0}}.flip({axis}), {axis}, keepdim=True)"
        return Source(f"({{0}}.shape[{axis}] - 1 - {place}).float()", nests=False)

    @classmethod
    def mixes_items(cls, layer_param: proto.LayerParameter) -> bool:
        return layer_param.argmax_param.HasField("axis") and layer_param.argmax_param.axis == 0


def _rows(bottom: Tensor) -> Tensor:
    """(n, values of an item)."""
    return bottom.unsqueeze(1) if bottom.dim() == 1 else bottom.flatten(1)
