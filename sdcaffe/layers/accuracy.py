"""Accuracy: the share of items whose label is among the top_k scores. Not differentiable."""

from __future__ import annotations

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import Layer, Shape, canonical_axis, register
from sdcaffe.layers.loss import check_label_count, class_labels, ignored_label


@register("Accuracy", field="accuracy_param")
class Accuracy(Layer):
    """Scores (outer, classes, inner) and one label for each of outer * inner; a second top is per class.

    A class that scores the same as the label's counts as better, as in Caffe, so all scores equal gives 0.
    Classes (or batches) without any counted item have accuracy 0.
    """

    param: proto.AccuracyParameter
    bottoms = 2
    tops = (1, 2)
    index_bottoms = (1,)

    drawn_as = "loss"

    judges = True

    @classmethod
    def deployed(cls, layer_param: proto.LayerParameter) -> proto.LayerParameter | None:
        return None

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        scores, label = bottom_shapes
        self.axis = canonical_axis(self, self.param.axis, len(scores))
        check_label_count(self, scores, label, self.axis)
        classes, top_k = scores[self.axis], self.param.top_k
        if top_k > classes:
            raise self.error(f"top_k (={top_k}) must be at most the number of classes (={classes})", "top_k")
        self.ignore = ignored_label(self.param)
        return [(), (classes,)][: max(1, len(self.layer_param.top))]

    @torch.no_grad()
    def forward(self, scores: Tensor, label: Tensor) -> Tensor | tuple[Tensor, ...]:
        shape, axis = scores.shape, self.axis
        label = label.reshape(*shape[:axis], 1, *shape[axis + 1 :])
        labels = class_labels(self, label, shape[axis], self.ignore)
        # "not less" is Caffe's "at least", but lets no NaN win (Caffe counts NaN scores as right)
        better = (~(scores < scores.gather(axis, labels.index))).sum(axis, keepdim=True) - 1
        right = better < self.param.top_k
        counted = torch.ones_like(right) if labels.kept is None else labels.kept
        right = (right & counted).to(scores.dtype)
        counted = counted.to(scores.dtype)
        accuracy = labels.mark(right.sum() / counted.sum().clamp(min=1))
        if len(self.layer_param.top) < 2:
            return accuracy
        classes = labels.index.reshape(-1)
        zeros = scores.new_zeros(shape[axis])
        hits = zeros.index_add(0, classes, right.reshape(-1))
        items = zeros.index_add(0, classes, counted.reshape(-1))
        return accuracy, labels.mark(hits / items.clamp(min=1))
