"""LabelsequenceAccuracy: how many sequences of labels are read without a mistake."""

from __future__ import annotations

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import Layer, Shape, register, show_shape


class LabelsequenceAccuracyParameter:
    blank_label: int = 0


@register("LabelsequenceAccuracy", field="labelsequence_accuracy_param", number=1359)
class LabelsequenceAccuracy(Layer):
    """Of scores (n, time, classes) and labels (n, length): the part of items whose sequences are the same.

    As in DeepDetect's Caffe (jolibrain/caffe@23928c0). What is read is the best class of each step, repetitions taken
    as one, then without blank_label; the labels are taken without blank_label. No gradient goes to a bottom.
    """

    param: proto.LabelsequenceAccuracyParameter
    Param = LabelsequenceAccuracyParameter
    bottoms = 2
    index_bottoms = (0, 1)
    not_exported = "it compares with labels"
    yields = True

    @classmethod
    def deployed(cls, layer_param: proto.LayerParameter) -> proto.LayerParameter | None:
        return None

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        scores, label = bottom_shapes
        if len(scores) != 3 or len(label) < 2 or scores[0] != label[0]:
            shapes = f"{show_shape(scores)} and {show_shape(label)}"
            raise self.error(f"needs scores (n, time, classes) and labels (n, length), not {shapes}")
        return [()]

    def forward(self, scores: Tensor, label: Tensor) -> Tensor:
        blank = self.param.blank_label
        read = scores.detach().argmax(2)
        before = torch.cat([torch.full_like(read[:, :1], blank), read[:, :-1]], 1)
        read_counts = (read != before) & (read != blank)
        label = label.detach().reshape(label.shape[0], -1).long()
        pairs = (_compact(read, read_counts), _compact(label, label != blank))
        width = max(values.shape[1] for values in pairs)
        first, second = (torch.nn.functional.pad(values, (0, width - values.shape[1]), value=-1) for values in pairs)
        return (first == second).all(1).to(scores.dtype).mean()


def _compact(values: Tensor, counts: Tensor) -> Tensor:
    """The values of each row that count, first, then -1."""
    order = (~counts).to(torch.uint8).argsort(dim=1, stable=True)
    return values.masked_fill(~counts, -1).gather(1, order)
