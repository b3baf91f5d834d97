"""LogScaler: numbers of any size brought close together by a logarithm, their signs kept."""

from __future__ import annotations

import math

from torch import Tensor

from sdcaffe import proto
from sdcaffe.forks.dach import source_parts
from sdcaffe.layers.base import Shape, Source, SourceBuilder, call, number, register
from sdcaffe.layers.neuron import NeuronLayer


class LogScalerParameter:
    base: float = -1.0
    scale: float = 1.0


def log_base(layer: NeuronLayer) -> float:
    """The natural logarithm of the field `base`, -1 standing for e. Raises LayerError for one that has none."""
    base: float = layer.param.base
    if layer.param.scale == 0:
        raise layer.error("scale must not be 0", "scale")
    if base == -1:
        return 1.0
    if not 0 < base < math.inf or base == 1:
        raise layer.error(f"base must be above 0 and not 1, or -1 for e, not {base:g}", "base")
    return math.log(base)


@register("LogScaler", field="log_scaler_param", number=160)
class LogScaler(NeuronLayer):
    """y = sign(x) * log(1 + scale * |x|) to the base `base`; -1, the default, is e.

    As the schema of CAFFE-DACH says (JiahaoLi-gdut/CAFFE-DACH@388c826): the layer's own code is not published, that of
    its inverse, ExpScaler, is. Where 1 + scale * |x| is not above 0 the top is NaN or infinite.
    """

    param: proto.LogScalerParameter
    Param = LogScalerParameter
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        self.base = log_base(self)
        return bottom_shapes

    def forward(self, bottom: Tensor) -> Tensor:
        return source_parts.log_scaled(bottom, self.param.scale, self.base)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        part = builder.part(source_parts.log_scaled)
        return Source(call(part, "{0}", number(self.param.scale), repr(self.base)))
