"""Reduction: the last axes of a blob made one number each."""

from __future__ import annotations

from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import Layer, Shape, Source, SourceBuilder, canonical_axis, number, register


@register("Reduction", field="reduction_param")
class Reduction(Layer):
    """`coeff` times the SUM, ASUM (of absolute values), SUMSQ (of squares) or MEAN over `axis` and all after."""

    param: proto.ReductionParameter

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        (shape,) = bottom_shapes
        self.axis = canonical_axis(self, self.param.axis, len(shape))
        return [shape[: self.axis]]

    def forward(self, bottom: Tensor) -> Tensor:
        param, coefficient = self.param, self.param.coeff
        axes = tuple(range(self.axis, bottom.dim()))
        if param.operation == param.ASUM:
            bottom = bottom.abs()
        elif param.operation == param.SUMSQ:
            bottom = bottom.square()
        elif param.operation == param.MEAN:
            return bottom.mean(axes) * coefficient
        return bottom.sum(axes) * coefficient

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        param = self.param
        axes = ", ".join(str(axis) for axis in range(self.axis, len(bottoms[0])))
        axes = f"({axes})" if "," in axes else axes
        inner = {param.ASUM: "torch.abs({0})", param.SUMSQ: "torch.square({0})"}.get(param.operation, "{0}")
        function = "mean" if param.operation == param.MEAN else "sum"
        text = f"torch.{function}({inner}, {axes})"
        return Source(text if param.coeff == 1 else f"{text} * {number(param.coeff)}")

    @classmethod
    def mixes_items(cls, layer_param: proto.LayerParameter) -> bool:
        return layer_param.reduction_param.axis == 0
