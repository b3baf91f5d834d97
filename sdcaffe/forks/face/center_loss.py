"""CenterLoss: how far features lie from the centre of their class, which follows them."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import Shape, canonical_axis, register
from sdcaffe.layers.loss import LossLayer, class_labels


class CenterLossParameter:
    num_output: int
    center_filler: proto.FillerParameter
    axis: int = 1


class _Distance(torch.autograd.Function):
    """Half the mean squared distance of rows (n, k) from their centres; the fork's gradients."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, centers: Tensor, index: Tensor) -> Tensor:
        apart = rows - centers[index]
        ctx.save_for_backward(apart, index)
        ctx.classes = len(centers)
        return apart.square().sum() / len(rows) / 2

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        apart, index = ctx.saved_tensors
        sums = apart.new_zeros(ctx.classes, apart.shape[1]).index_add(0, index, apart)
        counts = apart.new_zeros(ctx.classes).index_add(0, index, torch.ones_like(index, dtype=apart.dtype))
        return grad * apart / len(apart), -sums / (counts + 1).unsqueeze(1), None


@register("CenterLoss", field="center_loss_param", number=1448)
class CenterLoss(LossLayer):
    """sum |x - c|^2 / (2 n) of features x (n, ...), c the centre of their class; labels (n,) are bottom 1.

    As in caffe-face (ydwen/caffe-face@48ff38e), whose number 147 is BVLC Caffe's swish_param. Blob 0 is the centres,
    (num_output, k). Their gradient is the fork's: for each class sum (c - x) / (1 + count) over its items of the batch,
    whatever the loss weight. param { lr_mult } says how fast they move.
    """

    param: proto.CenterLossParameter
    origin = "caffe-face (ydwen/caffe-face)"
    Param = CenterLossParameter
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        self.check_one_label_each(bottom_shapes)
        bottom = bottom_shapes[0]
        if self.param.num_output < 1:
            raise self.error("num_output must be at least 1", "num_output")
        axis = canonical_axis(self, self.param.axis, len(bottom))
        if math.prod(bottom[:axis]) != bottom[0]:
            raise self.error("axis must be 1: a feature and a label are an item's", "axis")
        self.blob(0, (self.param.num_output, math.prod(bottom[axis:])), self.param.center_filler)
        return [()]

    def forward(self, bottom: Tensor, label: Tensor) -> Tensor:
        labels = class_labels(self, label.reshape(-1), len(self.blobs[0]))
        loss: Tensor = _Distance.apply(bottom.reshape(len(bottom), -1), self.blobs[0], labels.index)
        return labels.mark(loss)
