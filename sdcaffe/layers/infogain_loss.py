"""InfogainLoss: the softmax loss generalised by a matrix that says what each confusion is worth."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import Shape, canonical_axis, register, show_shape
from sdcaffe.layers.loss import (
    LOG_THRESHOLD,
    LossLayer,
    check_label_count,
    class_labels,
    ignored_label,
    normalization,
    normalized,
    outer_inner,
)


class _RaiseTo(torch.autograd.Function):
    """x, at least `bound`. The gradient passes as if there were no bound, as in Caffe's backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bound: float) -> Tensor:
        return x.clamp(min=bound)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


@register("InfogainLoss", field="infogain_loss_param")
class InfogainLoss(LossLayer):
    """-sum_k H[label, k] log p_k with p the softmax of scores (outer, classes, inner); p at least 1e-20.

    H (classes, classes) is the third bottom or the BlobProto file `source`; the identity gives
    SoftmaxWithLoss. A second top is the probabilities; no gradient comes back through it.
    """

    param: proto.InfogainLossParameter
    bottoms = (2, 3)
    tops = (1, 2)
    index_bottoms = (1, 2)
    matrix: Tensor

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        self.check_same_number(bottom_shapes)
        loss_param = self.layer_param.loss_param
        if loss_param.HasField("normalize"):
            raise self.error('loss_param.normalize is not for this layer; use "normalization"', "normalize")
        scores, label = bottom_shapes[:2]
        self.axis = canonical_axis(self, self.param.axis, len(scores))
        check_label_count(self, scores, label, self.axis)
        classes = scores[self.axis]
        given = bottom_shapes[2] if len(bottom_shapes) > 2 else self._read_matrix()
        if math.prod(given) != classes * classes:
            raise self.error(
                f"the infogain matrix must be {classes} x {classes} for {classes} classes, not {show_shape(given)}"
            )
        self.ignore = ignored_label(loss_param)
        self.mode = normalization(loss_param, loss_param.VALID)
        return [(), scores][: max(1, len(self.layer_param.top))]

    def _read_matrix(self) -> Shape:
        """Read the matrix from `source` once; returns its shape."""
        if not hasattr(self, "matrix"):
            if not self.param.source:
                raise self.error("needs its matrix, as a third bottom or in infogain_loss_param.source", "source")
            matrix = torch.tensor(proto.read_blob(self.param.source), dtype=torch.float32)
            self.register_buffer("matrix", matrix, persistent=False)
        return tuple(self.matrix.shape)

    def forward(self, scores: Tensor, label: Tensor, matrix: Tensor | None = None) -> Tensor | tuple[Tensor, ...]:
        shape, classes = scores.shape, scores.shape[self.axis]
        outer, inner = outer_inner(shape, self.axis)
        labels = class_labels(self, label.reshape(outer, inner), classes, self.ignore)
        worth = (self.matrix if matrix is None else matrix).detach().reshape(classes, classes)
        weight = worth.to(scores.dtype)[labels.index].transpose(1, 2)  # outer, classes, inner
        if labels.kept is not None:
            weight = weight * labels.kept.unsqueeze(1)
        log_prob = torch.log_softmax(scores.reshape(outer, classes, inner), 1)
        total = -(weight * _RaiseTo.apply(log_prob, math.log(LOG_THRESHOLD))).sum()
        loss_param = self.layer_param.loss_param
        loss = labels.mark(normalized(total, loss_param, self.mode, outer, inner, labels.kept))
        return loss if len(self.layer_param.top) < 2 else (loss, log_prob.detach().exp().reshape(shape))
