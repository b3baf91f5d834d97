"""SoftmaxWithLoss with weights for the classes, of SegNet and ENet."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import Shape, register
from sdcaffe.layers.loss import Labels
from sdcaffe.layers.softmax_loss import SoftmaxWithLoss


class ClassWeights:
    """What SegNet's Caffe adds to LossParameter; its numbers, 3 and 4, are BVLC's normalization and Intel's field."""

    weight_by_label_freqs: Annotated[bool, 5] = False
    class_weighting: Annotated[list[float], 6]


proto.schema.extend("LossParameter", ClassWeights)


@register("SoftmaxWithLoss", field="loss_param", when=lambda layer_param: layer_param.loss_param.weight_by_label_freqs)
class WeightedSoftmaxWithLoss(SoftmaxWithLoss):
    """SoftmaxWithLoss whose labels count by class, with weight_by_label_freqs: true.

    A label of class c counts class_weighting[c] times (alexgkendall/caffe-segnet@344c113, caffe-enet@22d356c);
    without class_weighting, one over how many labels of the batch are c (caffe-segnet@03d1e9f, whose labels end at
    1023). What the sum is divided by is not weighted. Raises LayerError unless there is one weight a class.
    """

    origin = "SegNet"

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        tops = super().setup(bottom_shapes)
        given, classes = len(self.param.class_weighting), bottom_shapes[0][self.axis]
        if given not in (0, classes):
            raise self.error(f"{given} class_weighting for {classes} classes; give one a class", "class_weighting")
        return tops

    def weights(self, labels: Labels, classes: int) -> Tensor:
        if len(self.param.class_weighting):
            weights = torch.tensor(list(self.param.class_weighting), device=labels.index.device)
        else:
            counted = labels.index if labels.kept is None else labels.index[labels.kept]
            weights = 1 / counted.flatten().bincount(minlength=classes).clamp(min=1).double()
        return weights[labels.index]
