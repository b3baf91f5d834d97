"""SeLu, the scaled exponential linear unit."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor
from torch.nn import functional as F

from sdcaffe import proto
from sdcaffe.layers.base import Shape, Source, SourceBuilder, number, register
from sdcaffe.layers.neuron import NeuronLayer


class SeLuParameter:
    alpha: Annotated[float, 2] = 1.67326324


# A word of Python's, so not to be written as an attribute.
SeLuParameter.__annotations__["lambda"] = Annotated[float, 1]
setattr(SeLuParameter, "lambda", 1.050700987)


@register("SeLu", field="selu_param", number=1461)
class SeLu(NeuronLayer):
    """y = lambda * x above 0, lambda * alpha * (exp(x) - 1) elsewhere.

    As in BVLC/caffe@3866af4, a branch that was not merged, with the defaults that its schema is published with; its
    number 161 is CAFFE-DACH's exp_scaler_param.
    """

    param: proto.SeLuParameter
    origin = "a SELU branch of BVLC/caffe, soeaver/caffe-model"
    Param = SeLuParameter
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        self.scale: float = getattr(self.param, "lambda")
        return super().setup(bottom_shapes)

    def forward(self, bottom: Tensor) -> Tensor:
        return self.scale * F.elu(bottom, self.param.alpha)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        return Source(f"{number(self.scale)} * F.elu({{0}}, {number(self.param.alpha)})", nests=False)
