"""ReLU, leaky where the prototxt gives a slope."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from sdcaffe import proto
from sdcaffe.layers.base import Shape, Source, SourceBuilder, number, register
from sdcaffe.layers.neuron import NeuronLayer


@register("ReLU", field="relu_param")
class ReLU(NeuronLayer):
    """y = max(x, 0) + negative_slope * min(x, 0); at 0 the derivative is the slope, as in Caffe."""

    param: proto.ReLUParameter

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        self.negative_slope: float = self.param.negative_slope
        return super().setup(bottom_shapes)

    @property
    def rectifies(self) -> bool:
        return self.negative_slope == 0

    def forward(self, bottom: Tensor) -> Tensor:
        if self.negative_slope == 0:
            return F.relu(bottom)
        return F.leaky_relu(bottom, self.negative_slope)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        slope = self.negative_slope
        return Source(f"F.leaky_relu({{0}}, {number(slope)})" if slope else "F.relu({0})")
