"""GradientScaler: turns gradients round, by a factor that grows in training, for a domain-adversarial net."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import OnnxBuilder, Shape, Source, SourceBuilder, register
from sdcaffe.layers.neuron import NeuronLayer


class GradientScalerParameter:
    lower_bound: float = 0.0
    upper_bound: float = 1.0
    alpha: float = 10.0
    max_iter: float = 1.0
    threshold_iter: int = 0


class _Reversed(torch.autograd.Function):
    """The bottom as it is; the gradient times minus `factor`."""

    @staticmethod
    def forward(ctx: Any, bottom: Tensor, factor: Tensor) -> Tensor:
        ctx.save_for_backward(factor)
        return bottom.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (factor,) = ctx.saved_tensors
        return grad * -factor.to(grad.dtype), None


@register("GradientScaler", field="gradient_scaler_param", number=1349)
class GradientScaler(NeuronLayer):
    """Tops equal to the bottoms; the gradients times -c.

    As in Ganin's DANN (ddtm/caffe@25fddca) and Xlearn (thuml/Xlearn@e72b2be). In iteration i of a solver c = 2 h /
    (1 + exp(-alpha min(1, i / max_iter))) - h + lower_bound, with h = upper_bound - lower_bound; in the first
    threshold_iter iterations, as Xlearn's GPU code has it, c is 0. Without a solver c is 1.
    """

    param: proto.GradientScalerParameter
    origin = "DANN (ddtm/caffe), thuml's Xlearn"

    Param = GradientScalerParameter
    bottoms = (1, None)
    tops = (1, None)
    same_tops = True
    yields = True

    factor: Tensor

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        param = self.param
        if not (param.lower_bound <= param.upper_bound and param.alpha >= 0 and param.max_iter >= 1):
            raise self.error("needs lower_bound <= upper_bound, alpha >= 0 and max_iter >= 1", "gradient_scaler_param")
        if "factor" not in self._buffers:
            self.register_buffer("factor", torch.tensor(1.0), persistent=False)
        return bottom_shapes

    def begin(self, iteration: int) -> None:
        param = self.param
        height = param.upper_bound - param.lower_bound
        ramp = math.exp(-param.alpha * min(1.0, iteration / param.max_iter))
        found = 2 * height / (1 + ramp) - height + param.lower_bound
        self.factor.fill_(found if iteration >= param.threshold_iter else 0.0)

    def forward(self, *bottoms: Tensor) -> Tensor | tuple[Tensor, ...]:
        tops: tuple[Tensor, ...] = tuple(_Reversed.apply(bottom, self.factor) for bottom in bottoms)
        return tops[0] if len(tops) == 1 else tops

    def to_onnx(self, builder: OnnxBuilder, *bottoms: Tensor) -> Tensor | tuple[Tensor, ...]:
        tops = tuple(bottom + 0 for bottom in bottoms)
        return tops[0] if len(tops) == 1 else tops

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        return Source("{0}", each=True)
