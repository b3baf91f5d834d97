"""Eltwise: bottoms of one shape joined by product, weighted sum or maximum."""

from __future__ import annotations

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import Layer, Shape, Source, SourceBuilder, number, register, show_shape


@register("Eltwise", field="eltwise_param")
class Eltwise(Layer):
    """PROD, SUM (each bottom times its `coeff`, 1 where none is given) or MAX of two or more bottoms.

    A maximum's gradient goes to one bottom: of the first two to the second where they tie, and a later one
    takes it only where it is greater. `stable_prod_grad: false` is accepted and needs no other code: the
    gradient of a product is the product of the others, without Caffe's division by zero.
    """

    param: proto.EltwiseParameter
    bottoms = (2, None)
    keeps_places = True

    @classmethod
    def settings(cls, layer_param: proto.LayerParameter) -> list[str]:
        param = layer_param.eltwise_param
        return [param.EltwiseOp.Name(param.operation)]

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        first = bottom_shapes[0]
        for i, shape in enumerate(bottom_shapes):
            if shape != first:
                raise self.error(f"bottom {i} has shape {show_shape(shape)}, but bottom 0 has {show_shape(first)}")
        coefficients = list(self.param.coeff)
        if coefficients and self.param.operation == self.param.PROD:
            raise self.error("only a SUM takes coefficients", "coeff")
        if len(coefficients) not in (0, len(bottom_shapes)):
            raise self.error(f"{len(coefficients)} coefficients for {len(bottom_shapes)} bottoms", "coeff")
        self.coefficients = coefficients or [1.0] * len(bottom_shapes)
        self.operation = self.param.operation
        return [first]

    @property
    def lends_top(self) -> bool:
        return bool(self.operation == self.param.SUM)

    @property
    def sums(self) -> bool:
        return self.lends_top and set(self.coefficients) == {1.0}

    def forward(self, *bottoms: Tensor) -> Tensor:
        top = bottoms[0]
        if self.operation == self.param.PROD:
            for bottom in bottoms[1:]:
                top = top * bottom
        elif self.operation == self.param.MAX:
            top = torch.where(top > bottoms[1], top, bottoms[1])
            for bottom in bottoms[2:]:
                top = torch.where(bottom > top, bottom, top)
        else:
            if self.coefficients[0] != 1:
                top = top * self.coefficients[0]
            for bottom, coefficient in zip(bottoms[1:], self.coefficients[1:], strict=True):
                top = torch.add(top, bottom, alpha=coefficient)
        return top

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        names = [f"{{{i}}}" for i in range(len(bottoms))]
        if self.operation == self.param.PROD:
            return Source(" * ".join(names), nests=False)
        if self.operation == self.param.MAX:
            text = names[0]
            for name in names[1:]:
                text = f"torch.maximum({text}, {name})"
            return Source(text, nests=False)
        text = _times(self.coefficients[0], names[0])
        for coefficient, name in zip(self.coefficients[1:], names[1:], strict=True):
            text += f" - {_times(-coefficient, name)}" if coefficient < 0 else f" + {_times(coefficient, name)}"
        return Source(text, nests=False)


def _times(coefficient: float, name: str) -> str:
    return name if coefficient == 1 else f"{number(coefficient)} * {name}"
