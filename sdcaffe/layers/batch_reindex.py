"""BatchReindex: items of a batch picked by number, repeated or left out."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.errors import DataError
from sdcaffe.layers.base import Layer, OnnxBuilder, Shape, register, show_shape


@register("BatchReindex")
class BatchReindex(Layer):
    """Top item i is bottom item index[i]; gradients of an item that is picked twice add up."""

    bottoms = 2
    index_bottoms = (1,)

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        shape, index = bottom_shapes
        if not shape or len(index) != 1:
            raise self.error(f"needs a batch and a list of numbers, not {show_shape(shape)} and {show_shape(index)}")
        return [(*index, *shape[1:])]

    def forward(self, bottom: Tensor, index: Tensor) -> Tensor:
        index = index.detach().long()
        wrong = index[(index < 0) | (index >= len(bottom))].tolist()
        if wrong:
            raise DataError(
                f'layer "{self.name}" ({self.type}): index {wrong[0]} is out of range: '
                f"the batch has {len(bottom)} items, so they go from 0 to {len(bottom) - 1}"
            )
        return torch.index_select(bottom, 0, index)

    def to_onnx(self, builder: OnnxBuilder, *bottoms: Tensor) -> Tensor:
        return torch.index_select(bottoms[0], 0, bottoms[1].long())

    def example(self, index: int, shapes: list[Shape], random: np.random.Generator) -> np.ndarray | None:
        return random.integers(0, shapes[0][0], shapes[1]) if index == 1 else None

    @classmethod
    def mixes_items(cls, layer_param: proto.LayerParameter) -> bool:
        return True
