"""Input: tops that the caller of the net gives."""

from __future__ import annotations

from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import Layer, Shape, register


@register("Input", field="input_param")
class Input(Layer):
    """One `shape` for each top, or one for all of them. The net puts in the caller's blobs; nothing is computed."""

    param: proto.InputParameter
    bottoms = 0
    tops = (1, None)
    given = True

    @classmethod
    def settings(cls, layer_param: proto.LayerParameter) -> list[str]:
        return [" x ".join(map(str, shape.dim)) for shape in layer_param.input_param.shape]

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        tops = len(self.layer_param.top)
        shapes = [tuple(shape.dim) for shape in self.param.shape]
        if len(shapes) not in (1, tops):
            raise self.error(
                f"{len(shapes)} shapes for {tops} tops; give input_param one shape for all or one for each", "shape"
            )
        if any(n < 0 for shape in shapes for n in shape):
            raise self.error(f"shapes {[list(shape) for shape in shapes]} hold a negative size", "shape")
        return shapes if len(shapes) == tops else shapes * tops

    def forward(self) -> tuple[Tensor, ...]:
        raise self.error("the caller of the net gives its tops: " + ", ".join(self.layer_param.top))
