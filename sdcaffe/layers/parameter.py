"""Parameter: a learnable blob as a top."""

from __future__ import annotations

from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import Layer, Shape, register


@register("Parameter", field="parameter_param")
class Parameter(Layer):
    """Its one blob has the shape of `parameter_param.shape` and starts at zero; the top is the blob."""

    param: proto.ParameterParameter
    bottoms = 0
    top_is_blob = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        shape = tuple(self.param.shape.dim)
        if any(n < 0 for n in shape):
            raise self.error(f"shape {list(shape)} holds a negative size", "shape")
        self.blob(0, shape)
        return [shape]

    def forward(self) -> Tensor:
        return self.blobs[0]
