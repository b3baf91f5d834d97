"""Filter: items of a batch kept or dropped by a selector, so the tops change size from pass to pass."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import Layer, Shape, register, show_shape


@register("Filter")
class Filter(Layer):
    """The last bottom selects: items where it is not 0 go on, from each of the others to its top.

    When a net is made the tops have the shapes of their bottoms; later the first axis is the number selected.
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

    def shapes_at(self, bottoms: Sequence[Tensor]) -> list[Shape]:
        count = len(_selected(bottoms))
        return [(count, *shape[1:]) for shape in super().shapes_at(bottoms)]

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        selected = _selected(bottoms)
        return tuple(torch.index_select(bottom, 0, selected) for bottom in bottoms[:-1])

    @classmethod
    def mixes_items(cls, layer_param: proto.LayerParameter) -> bool:
        return True


def _selected(bottoms: Sequence[Tensor]) -> Tensor:
    """The numbers of the items that the last bottom selects."""
    return bottoms[-1].detach().reshape(-1).nonzero().reshape(-1)

    def example(self, index: int, shapes: list[Shape], random: np.random.Generator) -> np.ndarray | None:
        return random.integers(0, 2, shapes[-1]) if index == len(shapes) - 1 else None
