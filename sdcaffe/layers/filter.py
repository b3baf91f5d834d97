"""Filter: items of a batch kept or dropped by a selector, so the tops change size from pass to pass."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sdcaffe.layers.base import Layer, Shape, register, show_shape


@register("Filter")
class Filter(Layer):
    """The last bottom selects: items where it is not 0 go on, from each of the others to its top.

    At set-up the tops have the shapes of their bottoms; later the first axis is the number selected.
    """

    bottoms = (2, None)
    tops = (1, None)
    dynamic = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        *shapes, selector = bottom_shapes
        if len(self.layer_param.top) != len(shapes):
            raise self.error(f"{len(self.layer_param.top)} tops for {len(shapes)} bottoms and a selector")
        if not selector or math.prod(selector[1:]) != 1:
            raise self.error(f"the selector must be one value an item, not a blob of shape {show_shape(selector)}")
        for i, shape in enumerate(shapes):
            if shape[:1] != selector[:1]:
                raise self.error(
                    f"bottom {i} of shape {show_shape(shape)} must have as many items as the selector has "
                    f"values (={selector[0]})"
                )
        return shapes

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        selected = bottoms[-1].detach().reshape(-1).nonzero().reshape(-1)
        return tuple(torch.index_select(bottom, 0, selected) for bottom in bottoms[:-1])
