"""ReLU6, and ReLU with relu6: ReLU up to 6."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

from sdcaffe import proto
from sdcaffe.layers.base import Shape, Source, SourceBuilder, number, register
from sdcaffe.layers.neuron import NeuronLayer


class ReLU6Parameter:
    negative_slope: float = 0.0


class UpToSix(NeuronLayer):
    """y = min(max(x, 0) + negative_slope * min(x, 0), 6), under either name."""

    def forward(self, bottom: Tensor) -> Tensor:
        slope = self.param.negative_slope
        if slope == 0:
            return F.relu6(bottom)
        leaky = F.leaky_relu(bottom, slope)
        return torch.where(leaky < 6, leaky, 6)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        slope = self.param.negative_slope
        return Source(f"F.leaky_relu({{0}}, {number(slope)}).clamp(max=6)" if slope else "F.relu6({0})")


@register("ReLU6", field="relu6_param", number=100000)
class ReLU6(UpToSix):
    """y = min(max(x, 0) + negative_slope * min(x, 0), 6), as in the MobileNetV2 forks.

    At 0 the derivative is negative_slope, at 6 it is 0.
    """

    param: proto.ReLU6Parameter
    origin = "MobileNetV2's forks"

    Param = ReLU6Parameter
    yields = True


class CappedReLUParameter:
    """What Synopsys' Caffe adds to ReLUParameter."""

    relu6: Annotated[bool, 3] = False


proto.schema.extend("ReLUParameter", CappedReLUParameter)


@register("ReLU", field="relu_param", when=lambda layer_param: layer_param.relu_param.relu6)
class CappedReLU(UpToSix):
    """See ReLU6: a ReLU with relu6: true, of foss-for-synopsys-dwc-arc-processors/synopsys-caffe@977ba36."""

    param: proto.ReLUParameter
    origin = "Synopsys Caffe"
