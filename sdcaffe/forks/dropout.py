"""Dropout as forks have it: one that draws in the test phase too, and one that scales in the test phase instead."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor
from torch.nn import functional as F

from sdcaffe import proto
from sdcaffe.layers.base import Shape, Source, SourceBuilder, number, register
from sdcaffe.layers.dropout import Dropout


class ForksDropoutParameter:
    """What forks add to DropoutParameter; scale_train is 2 in caffe-fast-rcnn and microsoft/caffe, 3 in Synopsys'."""

    sample_weights_test: Annotated[bool, 2] = False
    scale_train: Annotated[bool, 3] = True


proto.schema.extend("DropoutParameter", ForksDropoutParameter)


@register("Dropout", field="dropout_param", when=lambda layer_param: not layer_param.dropout_param.scale_train)
class UnscaledDropout(Dropout):
    """Dropout with scale_train: false, of caffe-fast-rcnn and Synopsys' Caffe (synopsys-caffe@977ba36).

    Train: each value is 0 with probability dropout_ratio, the others stay as they are. Test: all are multiplied by
    1 - dropout_ratio.
    """

    origin = "Fast R-CNN, Synopsys Caffe"

    def forward(self, bottom: Tensor) -> Tensor:
        kept = 1 - self.ratio
        return F.dropout(bottom, self.ratio) * kept if self.phase == proto.TRAIN else bottom * kept

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        ratio = number(self.ratio)
        return Source(f"F.dropout({{0}}, {ratio}, self.training) * (1 - {ratio})")


@register("Dropout", field="dropout_param", when=lambda layer_param: layer_param.dropout_param.sample_weights_test)
class SampledDropout(Dropout):
    """Dropout with sample_weights_test: true, of SegNet and Synopsys' Caffe: it draws in the test phase as in training.

    For Bayesian nets, whose answers are the mean and the spread of several passes (alexgkendall/caffe-segnet@344c113).
    Draws on torch's generator. With scale_train: false values that stay are not scaled.
    """

    origin = "SegNet, Synopsys Caffe"
    not_exported = "it draws in the test phase"

    def forward(self, bottom: Tensor) -> Tensor:
        top = F.dropout(bottom, self.ratio)
        return top if self.param.scale_train else top * (1 - self.ratio)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        raise self.unwritten("dropout that draws in the test phase")
