"""ExpScaler: the inverse of LogScaler."""

from __future__ import annotations

from torch import Tensor

from sdcaffe import proto
from sdcaffe.forks.dach import source_parts
from sdcaffe.forks.dach.log_scaler import log_base
from sdcaffe.layers.base import Shape, Source, SourceBuilder, call, number, register
from sdcaffe.layers.neuron import NeuronLayer


class ExpScalerParameter:
    base: float = -1.0
    scale: float = 1.0


@register("ExpScaler", field="exp_scaler_param", number=161)
class ExpScaler(NeuronLayer):
    """y = sign(x) * scale * (base ^ |x| - 1); base -1, the default, is e. As in CAFFE-DACH@388c826."""

    param: proto.ExpScalerParameter
    Param = ExpScalerParameter
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        self.base = log_base(self)
        return bottom_shapes

    def forward(self, bottom: Tensor) -> Tensor:
        return source_parts.exp_scaled(bottom, self.param.scale, self.base)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        part = builder.part(source_parts.exp_scaled)
        return Source(call(part, "{0}", number(self.param.scale), repr(self.base)))
