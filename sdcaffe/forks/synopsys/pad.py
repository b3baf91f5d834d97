"""Pad: a rim of one number around each axis."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from sdcaffe import proto
from sdcaffe.layers.base import Layer, Shape, Source, SourceBuilder, number, register, show_shape


class PadParameter:
    paddings: list[int]
    constant_values: float = 0.0


@register("Pad", field="pad_param", number=224)
class Pad(Layer):
    """constant_values before and after each axis, as many as `paddings` says: two numbers an axis, in order.

    As in Synopsys' Caffe (synopsys-caffe@977ba36), which has no backward; here the inner part's gradient goes back.
    """

    param: proto.PadParameter
    Param = PadParameter
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        (bottom,) = bottom_shapes
        rims = list(self.param.paddings)
        if len(rims) != 2 * len(bottom) or min(rims, default=0) < 0:
            raise self.error(
                f"paddings must be {2 * len(bottom)} numbers from 0 up, two for each axis of {show_shape(bottom)}",
                "paddings",
            )
        return [tuple(size + rims[2 * i] + rims[2 * i + 1] for i, size in enumerate(bottom))]

    def _rims(self) -> list[int]:
        """The rims as torch takes them: the last axis first."""
        rims = list(self.param.paddings)
        return [rim for i in range(len(rims) - 2, -1, -2) for rim in rims[i : i + 2]]

    def forward(self, bottom: Tensor) -> Tensor:
        return F.pad(bottom, self._rims(), value=self.param.constant_values)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        return Source(f"F.pad({{0}}, {self._rims()}, value={number(self.param.constant_values)})")
