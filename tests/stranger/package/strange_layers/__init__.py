"""What a stranger brings, who knows nothing of sdcaffe but what its pages say: layers here, the rest in `training`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sdcaffe import TEST, Layer, Message, register
from sdcaffe.layers.base import Affine, Shape, Source, SourceBuilder

from . import training as training


class Gate(nn.Module):
    """x * sigmoid(weight * x), with a weight for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(x * self.weight.reshape(-1, 1, 1))


@register("StrangeGate", field="strange_gate_param", number=4711)
class StrangeGate(Layer):
    """y = x * sigmoid(w x). Blob 0 is w, (c,)."""

    class Param:
        filler: object = Message("FillerParameter")

    in_place = True
    torch_names = (("weight",),)
    drawn_as = "convolution"

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        self.blob(0, (bottom_shapes[0][1],), self.param.filler)
        return bottom_shapes

    def forward(self, bottom: Tensor) -> Tensor:
        return bottom * torch.sigmoid(bottom * self.blobs[0].reshape(-1, 1, 1))

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        return Source("{self}({0})", f"{builder.part(Gate)}({bottoms[0][1]})")

    def multiply_adds(self, bottoms: list[Shape], tops: list[Shape]) -> int:
        return math.prod(tops[0])

    @classmethod
    def settings(cls, layer_param: object) -> list[str]:
        return ["by channel"]


class Standard(nn.Module):
    """(x - mean) / sqrt(variance + 0.001) of each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(channels))
        self.variance = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.mean, self.variance, eps=0.001)


@register("StrangeNorm")
class StrangeNorm(Layer):
    """A batch norm whose statistics are means, not sums. Blobs: 0 mean and 1 variance, both (c,), not learned."""

    normalizes = True
    torch_names = (("mean", "variance"),)
    called: list[tuple[str, bool, bool]] = []

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        for index in (0, 1):
            self.blob(index, (bottom_shapes[0][1],), learnable=False)
        return bottom_shapes

    def forward(self, bottom: Tensor) -> Tensor:
        return self.normalize(bottom, None, None)

    def normalize(self, bottom: Tensor, weight: Tensor | None, bias: Tensor | None, rectify: bool = False) -> Tensor:
        self.called.append((self.name, weight is not None, rectify))
        mean, variance = self.blobs
        training = self.phase != TEST
        top = F.batch_norm(bottom, mean, variance, weight, bias, training=training, momentum=0.2, eps=0.001)
        return torch.relu(top) if rectify else top

    def affine(self, blobs: Sequence[Tensor]) -> Affine | None:
        return Affine((blobs[1] + 0.001).rsqrt(), mean=blobs[0]) if self.phase == TEST else None

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        return Source("{self}({0})", f"{builder.part(Standard)}({bottoms[0][1]})")
