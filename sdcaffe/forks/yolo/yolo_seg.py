"""YoloSeg: MobileNet-YOLO's loss of a segmentation beside its boxes."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import Layer, Shape, register, show_shape


class YoloSegParameter:
    num_class: int = 0
    object_scale: float = 5.0
    class_scale: float = 1.0
    use_logic_gradient: bool = False
    use_hardsigmoid: bool = False


class _Squared(torch.autograd.Function):
    """The sum of squares of differences over n; backward the differences over n, as if they were the logits' own."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, label: Tensor, scale: Tensor) -> Tensor:
        apart = (logits.sigmoid() - label) * scale
        ctx.save_for_backward(apart)
        return apart.square().sum() / len(apart)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (apart,) = ctx.saved_tensors
        return grad * apart / len(apart), None, None


@register("YoloSeg", field="yolo_seg_param", number=604)
class YoloSeg(Layer):
    """sum d^2 / n, d = scale * (sigmoid(x) - label), of logits (n, classes, h, w) and labels 0 or 1 of that shape.

    As in MobileNet-YOLO (eric612/MobileNet-YOLO@69b4441). Bottom 2, (n, classes), is how many labels are 1. scale is
    object_scale, and times 2 - (labels of the class that are 1) / (those that are 0) where the label is above 0.5. The
    gradient is the fork's, d / n. The other fields change nothing, there too.
    """

    param: proto.YoloSegParameter
    Param = YoloSegParameter
    bottoms = 3
    index_bottoms = (1, 2)
    loss = True
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        logits, label, counts = bottom_shapes
        if len(logits) != 4 or label != logits or math.prod(counts) != math.prod(logits[:2]):
            shapes = ", ".join(map(show_shape, bottom_shapes))
            raise self.error(f"needs logits and labels (n, classes, h, w) and counts (n, classes), not {shapes}")
        return [()]

    def forward(self, logits: Tensor, label: Tensor, counts: Tensor) -> Tensor:
        counts = counts.reshape(logits.shape[:2])
        ones = counts.sum(0)
        share = ones / (len(logits) * logits.shape[2] * logits.shape[3] - ones)
        weight = torch.where(label > 0.5, (2 - share)[:, None, None], 1.0) * self.param.object_scale
        loss: Tensor = _Squared.apply(logits, label, weight)
        return loss
