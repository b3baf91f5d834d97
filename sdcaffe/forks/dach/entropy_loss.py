"""CAFFE-DACH's EntropyLoss: the mean entropy of what a net predicts, without labels."""

from __future__ import annotations

from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import Layer, Shape, canonical_axis, register
from sdcaffe.layers.loss import normalization, normalized, outer_inner


class EntropyLossParameter:
    """CAFFE-DACH's has no fields."""


proto.schema.declare("entropy_loss_param", 173, EntropyLossParameter)


def is_dachs(layer_param: proto.LayerParameter) -> bool:
    """Whether an EntropyLoss is CAFFE-DACH's: Xlearn's has two bottoms."""
    return len(layer_param.bottom) == 1


@register("EntropyLoss", field="entropy_loss_param", when=is_dachs)
class DachEntropyLoss(Layer):
    """The entropy -sum p log p of p = softmax(x), x (n, classes, ...), over loss_param's normalizer.

    As in CAFFE-DACH (JiahaoLi-gdut/CAFFE-DACH@388c826): softmax_param's axis says where the classes are. VALID, the
    default, and FULL take the mean over all places.
    """

    param: proto.EntropyLossParameter
    origin = "CAFFE-DACH (JiahaoLi-gdut/CAFFE-DACH)"
    loss = True
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        (bottom,) = bottom_shapes
        self.axis = canonical_axis(self, self.layer_param.softmax_param.axis, len(bottom))
        self.outer, self.inner = outer_inner(bottom, self.axis)
        loss_param = self.layer_param.loss_param
        self.mode = normalization(loss_param, loss_param.VALID)
        return [()]

    def forward(self, bottom: Tensor) -> Tensor:
        log_prob = bottom.log_softmax(self.axis)
        total = -(log_prob.exp() * log_prob).sum()
        return normalized(total, self.layer_param.loss_param, self.mode, self.outer, self.inner, None)
