"""ReLU6: ReLU up to 6."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from sdcaffe import proto
from sdcaffe.layers.base import Shape, Source, SourceBuilder, register
from sdcaffe.layers.neuron import NeuronLayer


class ReLU6Parameter:
    negative_slope: float = 0.0


@register("ReLU6", field="relu6_param", number=100000)
class ReLU6(NeuronLayer):
    """y = min(max(x, 0) + negative_slope * min(x, 0), 6), as in the MobileNetV2 forks.

    At 0 the derivative is negative_slope, at 6 it is 0.
    """

    param: proto.ReLU6Parameter
    origin = "MobileNetV2's forks"

    Param = ReLU6Parameter
    yields = True

    def forward(self, bottom: Tensor) -> Tensor:
        slope = self.param.negative_slope
        if slope == 0:
            return F.relu6(bottom)
        leaky = F.leaky_relu(bottom, slope)
        return torch.where(leaky < 6, leaky, 6)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        return Source("F.relu6({0})")
