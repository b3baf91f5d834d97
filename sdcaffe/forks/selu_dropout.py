"""SeLuDropout: a dropout that keeps mean 0 and variance 1, for nets of SeLu."""

from __future__ import annotations

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import Shape, Source, SourceBuilder, register
from sdcaffe.layers.neuron import NeuronLayer


class SeLuDropoutParameter:
    dropout_ratio: float = 0.1
    alpha: float = -1.75809934


@register("SeLuDropout", field="selu_dropout_param", number=1462)
class SeLuDropout(NeuronLayer):
    """Train: y = a * (x or, with probability dropout_ratio, alpha) + b; test: x.

    As in BVLC/caffe@3866af4, a branch that was not merged, whose number 162 is CAFFE-DACH's bottom2param_param. With
    q = 1 - dropout_ratio, a = 1 / sqrt(q (1 + alpha^2 (1 - q))) and b = -a (1 - q) alpha: mean 0 and variance 1
    stay so.
    """

    param: proto.SeLuDropoutParameter
    origin = "a SELU branch of BVLC/caffe, soeaver/caffe-model"
    Param = SeLuDropoutParameter
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        ratio, alpha = self.param.dropout_ratio, self.param.alpha
        if not 0 < ratio < 1:
            raise self.error(f"dropout_ratio (={ratio:g}) must be above 0 and below 1", "dropout_ratio")
        self.a = ((1 - ratio) * (1 + alpha * alpha * ratio)) ** -0.5
        self.b = -self.a * ratio * alpha
        return super().setup(bottom_shapes)

    def forward(self, bottom: Tensor) -> Tensor:
        if self.phase == proto.TEST:
            return bottom
        kept = torch.empty_like(bottom).bernoulli_(1 - self.param.dropout_ratio) == 1
        return self.a * torch.where(kept, bottom, self.param.alpha) + self.b

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        return Source("{0}")
