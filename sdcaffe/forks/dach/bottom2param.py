"""Bottom2Param: keeps its bottoms in its blobs, for a Param2Top that shares them."""

from __future__ import annotations

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.forks.dach import ORIGIN
from sdcaffe.layers.base import Layer, Shape, register


class Bottom2ParamParameter:
    """CAFFE-DACH's has no fields."""


@register("Bottom2Param", field="bottom2param_param", number=162)
class Bottom2Param(Layer):
    """Blob i is bottom i of the last batch; there is no top, and no gradient.

    As in CAFFE-DACH (JiahaoLi-gdut/CAFFE-DACH@388c826) by its GPU code: the CPU's keeps nothing. Nothing there asks for
    its gradient, as no loss stands above it.
    """

    param: proto.Bottom2ParamParameter
    Param = Bottom2ParamParameter
    origin = ORIGIN
    bottoms = (1, None)
    tops = 0
    yields = True

    @classmethod
    def deployed(cls, layer_param: proto.LayerParameter) -> proto.LayerParameter | None:
        return None

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        for i, shape in enumerate(bottom_shapes):
            self.blob(i, shape)
        return []

    @torch.no_grad()
    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        for blob, bottom in zip(self.blobs, bottoms, strict=True):
            blob.copy_(bottom)
        return ()
