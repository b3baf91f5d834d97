"""Insanity: the randomised leaky ReLU."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import Shape, Source, SourceBuilder, number, register
from sdcaffe.layers.neuron import NeuronLayer


class InsanityParameter:
    lb: float = 5.0
    ub: float = 10.0


@register("Insanity", field="insanity_param", number=1302)
class Insanity(NeuronLayer):
    """y = x above 0, else x / a, with an a for each number, drawn in training between lb and ub.

    As in happynear/caffe-windows@967eedf. In testing a is (ub - lb) / (log|ub| - log|lb|). At 0 the derivative is 1/a.
    """

    param: proto.InsanityParameter
    origin = "happynear/caffe-windows"

    Param = InsanityParameter
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        low, high = self.param.lb, self.param.ub
        if not low < high or low * high == 0:
            raise self.error("needs lb < ub, neither of them 0", "lb")
        if len(bottom_shapes[0]) < 2:
            raise self.error("needs a bottom of at least 2 axes")
        ratio = math.log(abs(high)) - math.log(abs(low))
        if ratio == 0:
            raise self.error("needs lb and ub of different sizes", "lb")
        self.mean = (high - low) / ratio
        return bottom_shapes

    def forward(self, bottom: Tensor) -> Tensor:
        if self.phase == proto.TRAIN:
            slopes = torch.empty_like(bottom).uniform_(self.param.lb, self.param.ub)
            return torch.where(bottom > 0, bottom, bottom / slopes)
        return torch.where(bottom > 0, bottom, bottom / self.mean)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        return Source(f"F.leaky_relu({{0}}, 1 / {number(self.mean)})")
