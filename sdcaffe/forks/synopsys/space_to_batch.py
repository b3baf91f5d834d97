"""SpaceToBatchND and BatchToSpaceND: blocks of places as items of the batch, and back, as TensorFlow has them."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional as F

from sdcaffe import proto
from sdcaffe.layers.base import Layer, Shape, Source, SourceBuilder, call, register, show_shape


def space_to_batch(x: Tensor, block: list[int], rims: list[int]) -> Tensor:
    """Axes from 1 on, with zeros around, cut into blocks; each place of a block becomes a batch, in order."""
    count = len(block)
    pads = [0, 0] * (x.dim() - 1 - count) + [n for i in range(count - 1, -1, -1) for n in rims[2 * i : 2 * i + 2]]
    x = F.pad(x, pads)
    cut = [n for i, size in enumerate(block) for n in (x.shape[i + 1] // size, size)]
    parts = x.reshape([x.shape[0], *cut, *x.shape[1 + count :]])
    order = [2 * i + 2 for i in range(count)] + [0] + [2 * i + 1 for i in range(count)]
    parts = parts.permute(order + list(range(1 + 2 * count, parts.dim())))
    return parts.flatten(0, count)


def batch_to_space(x: Tensor, block: list[int], rims: list[int]) -> Tensor:
    """The inverse: blocks put together again, and the rims cut off."""
    count = len(block)
    items = x.shape[0]
    for size in block:
        items = items // size
    parts = x.reshape([*block, items, *x.shape[1:]])
    order = [count] + [n for i in range(count) for n in (count + 1 + i, i)]
    parts = parts.permute(order + list(range(1 + 2 * count, parts.dim())))
    whole = parts.reshape([items, *[x.shape[i + 1] * block[i] for i in range(count)], *x.shape[1 + count :]])
    for i in range(count):
        whole = whole.narrow(i + 1, rims[2 * i], whole.shape[i + 1] - rims[2 * i] - rims[2 * i + 1])
    return whole


class SpaceToBatchNDParameter:
    block_shape: list[int]
    paddings: list[int]


class BatchToSpaceNDParameter:
    block_shape: list[int]
    crops: list[int]


class _Blocks(Layer):
    """What both share: the numbers of their blocks and rims."""

    yields = True
    rims: str = ""

    def numbers(self, bottom: Shape) -> tuple[list[int], list[int]]:
        """The sizes of a block, and the rims, two for each. Raises LayerError where they do not fit the bottom."""
        block, rims = list(self.param.block_shape), list(getattr(self.param, self.rims))
        if not block or min(block) < 1 or len(bottom) < len(block) + 1:
            raise self.error(f"block_shape {block} has no axes in {show_shape(bottom)}", "block_shape")
        if len(rims) not in (0, 2 * len(block)) or min(rims, default=0) < 0:
            raise self.error(f"{self.rims} must be {2 * len(block)} numbers from 0 up", self.rims)
        return block, rims or [0] * (2 * len(block))


@register("SpaceToBatchND", field="space_to_batch_nd_param", number=236)
class SpaceToBatchND(_Blocks):
    """Axes 1, 2, ... with `paddings` zeros around, cut into blocks of block_shape, whose places become items.

    As in Synopsys' Caffe (synopsys-caffe@977ba36), which has no backward; here the gradient goes back to its place.
    """

    param: proto.SpaceToBatchNDParameter

    Param = SpaceToBatchNDParameter
    rims = "paddings"

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        (bottom,) = bottom_shapes
        self.block, self.around = self.numbers(bottom)
        top = [bottom[0] * math.prod(self.block), *bottom[1:]]
        for i, size in enumerate(self.block):
            whole = bottom[i + 1] + self.around[2 * i] + self.around[2 * i + 1]
            if whole % size:
                raise self.error(f"axis {i + 1}, padded {whole}, is no multiple of the block's {size}", "block_shape")
            top[i + 1] = whole // size
        return [tuple(top)]

    def forward(self, bottom: Tensor) -> Tensor:
        return space_to_batch(bottom, self.block, self.around)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        return Source(call(builder.part(space_to_batch), "{0}", str(self.block), str(self.around)))


@register("BatchToSpaceND", field="batch_to_space_nd_param", number=235)
class BatchToSpaceND(_Blocks):
    """The inverse of SpaceToBatchND: items put together as blocks, `crops` cut off.

    As in Synopsys' Caffe (synopsys-caffe@977ba36), which has no backward; here the gradient goes back to its place.
    """

    param: proto.BatchToSpaceNDParameter

    Param = BatchToSpaceNDParameter
    rims = "crops"

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        (bottom,) = bottom_shapes
        self.block, self.around = self.numbers(bottom)
        if bottom[0] % math.prod(self.block):
            raise self.error(
                f"a batch of {bottom[0]} is no multiple of a block's {math.prod(self.block)}", "block_shape"
            )
        top = [bottom[0] // math.prod(self.block), *bottom[1:]]
        for i, size in enumerate(self.block):
            top[i + 1] = bottom[i + 1] * size - self.around[2 * i] - self.around[2 * i + 1]
            if top[i + 1] < 1:
                raise self.error(f"crops leave nothing of axis {i + 1}", "crops")
        return [tuple(top)]

    def forward(self, bottom: Tensor) -> Tensor:
        return batch_to_space(bottom, self.block, self.around)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        return Source(call(builder.part(batch_to_space), "{0}", str(self.block), str(self.around)))
