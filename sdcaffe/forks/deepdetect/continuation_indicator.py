"""ContinuationIndicator: the marks that a recurrent layer takes, for sequences of one length."""

from __future__ import annotations

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import Layer, Shape, Source, SourceBuilder, canonical_axis, register


class ContinuationIndicatorParameter:
    time_step: int = 0
    axis: int = 0


@register("ContinuationIndicator", field="continuation_indicator_param", number=1358)
class ContinuationIndicator(Layer):
    """(time_step, n): 0 in the first step, where sequences begin, 1 later; n is the bottom's size in `axis`.

    As in DeepDetect's Caffe (jolibrain/caffe@23928c0). No gradient goes to the bottom.
    """

    param: proto.ContinuationIndicatorParameter
    Param = ContinuationIndicatorParameter
    index_bottoms = (0,)
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        (bottom,) = bottom_shapes
        if self.param.time_step < 1:
            raise self.error("needs a time_step of at least 1", "time_step")
        self.axis = canonical_axis(self, self.param.axis, len(bottom))
        return [(self.param.time_step, bottom[self.axis])]

    def forward(self, bottom: Tensor) -> Tensor:
        steps = torch.arange(self.param.time_step, device=bottom.device).clamp(max=1)
        return steps.to(bottom.dtype).unsqueeze(1).expand(-1, bottom.shape[self.axis]).clone()

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        steps = f"torch.arange({self.param.time_step}, device={{0}}.device).clamp(max=1).to({{0}}.dtype)"
        return Source(f"{steps}.unsqueeze(1).expand(-1, {{0}}.shape[{self.axis}])", nests=False)
