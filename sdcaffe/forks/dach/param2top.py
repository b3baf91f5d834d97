"""Param2Top: blobs as tops, filled once or anew for each batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.forks.dach import ORIGIN
from sdcaffe.layers import fillers
from sdcaffe.layers.base import Layer, OnnxBuilder, Shape, register
from sdcaffe.layers.dummy_data import for_each_top, shapes_of_tops


class Param2TopParameter:
    data_filler: list[proto.FillerParameter]
    data_refill: list[int]
    shape: list[proto.BlobShape]
    num: list[int]
    channels: list[int]
    height: list[int]
    width: list[int]


class _Shown(torch.autograd.Function):
    """A blob; its gradient takes the place of what the blob has, as in the fork, and does not add to it."""

    @staticmethod
    def forward(ctx: Any, blob: Tensor) -> Tensor:
        ctx.blob = blob
        return blob.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        have = ctx.blob.grad
        return grad if have is None else grad - have


@register("Param2Top", field="param2top_param", number=1463)
class Param2Top(Layer):
    """Each top is a learnable blob, of its `shape` (or the older num, channels, height and width), without bottoms.

    As in CAFFE-DACH (JiahaoLi-gdut/CAFFE-DACH@388c826), where the field is 163, by its GPU code: the CPU's leaves tops
    as they are. `data_filler` fills a blob as data_refill says: 0 never, 1 at first, more for each batch. One
    data_refill of 1 for several tops fills the first alone. With iter_size the gradient is that of the last batch.
    """

    param: proto.Param2TopParameter
    Param = Param2TopParameter
    origin = ORIGIN
    bottoms = 0
    tops = (1, None)
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        shapes = shapes_of_tops(self)
        given = list(self.param.data_filler)
        self.fillers = for_each_top(self, "data_filler", given or [proto.FillerParameter(type="constant", value=0)])
        self.refills = self._refills(len(shapes), len(given))
        for i, shape in enumerate(shapes):
            fillers.check(self.fillers[i])
            self.blob(i, shape, self.fillers[i] if self.refills[i] else None)
        return shapes

    def _refills(self, tops: int, given: int) -> list[int]:
        refills = list(self.param.data_refill)
        if any(refill < 0 for refill in refills):
            raise self.error(f"data_refill is {min(refills)}; it must be 0 or more", "data_refill")
        if len(refills) not in (0, 1, tops):
            raise self.error(f"{len(refills)} x data_refill for {tops} tops; give one for all or one for each")
        if len(refills) > 1:
            return refills
        if not given:
            return [0] * tops
        if not refills:
            raise self.error("has a data_filler, but no data_refill that says when it fills", "data_filler")
        return [1] + [0] * (tops - 1) if refills[0] == 1 else refills * tops

    def forward(self) -> Tensor | tuple[Tensor, ...]:
        for blob, filler, refill in zip(self.blobs, self.fillers, self.refills, strict=True):
            if refill > 1:
                fillers.fill(blob.data, filler)
        tops: tuple[Tensor, ...] = tuple(_Shown.apply(blob) for blob in self.blobs)
        return tops[0] if len(tops) == 1 else tops

    def to_onnx(self, builder: OnnxBuilder, *bottoms: Tensor) -> Tensor | tuple[Tensor, ...]:
        if max(self.refills) > 1:
            raise self.error("a blob that is filled anew for each batch cannot be exported", "data_refill")
        tops = tuple(blob + 0 for blob in self.blobs)
        return tops[0] if len(tops) == 1 else tops
