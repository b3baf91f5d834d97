"""KnowledgeDistillation: a student learns what a teacher predicts, both softened by a temperature."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import Layer, Shape, canonical_axis, register, show_shape
from sdcaffe.layers.loss import check_label_count, ignored_label, normalization, normalized, outer_inner


class KnowledgeDistillationParameter:
    temperature: float = 1.0


class _Softened(torch.autograd.Function):
    """The divergence, summed over places that count; backward T (p - q) of the student's p and the teacher's q."""

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, kept: Tensor, temperature: float, axis: int) -> Tensor:
        ours, theirs = ((logits / temperature).log_softmax(axis) for logits in (student, teacher))
        ctx.save_for_backward(torch.where(kept, ours.exp() - theirs.exp(), 0) * temperature)
        return torch.where(kept, theirs.exp() * (theirs - ours), 0).sum()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        (slope,) = ctx.saved_tensors
        return grad * slope, None, None, None, None


@register("KnowledgeDistillation", field="knowledge_distillation_param", number=1480)
class KnowledgeDistillation(Layer):
    """sum KL(q || p) over places, p = softmax(student / T), q = softmax(teacher / T), by loss_param's normalizer.

    As in wentianli/knowledge_distillation_caffe@25b7694, whose number 147 is BVLC Caffe's swish_param. Logits (n,
    classes, ...) of student and teacher, and with ignore_label, and only then, labels. softmax_param's axis says where
    the classes are. The value is not multiplied by T^2; the student's gradient is, so it is T (p - q) over the
    normalizer. The teacher gets none.
    """

    param: proto.KnowledgeDistillationParameter
    origin = "wentianli/knowledge_distillation_caffe"
    Param = KnowledgeDistillationParameter
    bottoms = (2, 3)
    index_bottoms = (1, 2)
    loss = True
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        student, teacher, *label = bottom_shapes
        loss_param = self.layer_param.loss_param
        if not self.param.temperature > 0:
            raise self.error(f"temperature must be above 0, not {self.param.temperature:g}", "temperature")
        if student != teacher:
            raise self.error(f"logits must have one shape: {show_shape(student)} and {show_shape(teacher)}")
        ignored = ignored_label(loss_param)
        if bool(label) != (ignored is not None):
            raise self.error("labels, bottom 2, and ignore_label go together: give both or neither", "ignore_label")
        self.axis = canonical_axis(self, self.layer_param.softmax_param.axis, len(student))
        if label:
            check_label_count(self, student, label[0], self.axis)
        self.outer, self.inner = outer_inner(student, self.axis)
        self.mode = normalization(loss_param, loss_param.VALID)
        return [()]

    def forward(self, student: Tensor, teacher: Tensor, label: Tensor | None = None) -> Tensor:
        shape, axis = student.shape, self.axis
        kept = torch.ones(*shape[:axis], 1, *shape[axis + 1 :], dtype=torch.bool, device=student.device)
        if label is not None:
            kept = label.reshape(kept.shape).long().ne(self.layer_param.loss_param.ignore_label)
        total: Tensor = _Softened.apply(student, teacher, kept, self.param.temperature, axis)
        return normalized(total, self.layer_param.loss_param, self.mode, self.outer, self.inner, kept)
