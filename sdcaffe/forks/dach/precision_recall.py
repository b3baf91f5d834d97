"""PrecisionRecall: the precision and the recall of each class. Not differentiable."""

from __future__ import annotations

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import Layer, Shape, canonical_axis, register
from sdcaffe.layers.loss import check_label_count


class PrecisionRecallParameter:
    axis: int = 1


class ClassScores(Layer):
    """What measures of each class share: scores (outer, classes, inner), a label for each of outer * inner."""

    bottoms = 2
    index_bottoms = (1,)
    drawn_as = "loss"
    judges = True
    yields = True

    @classmethod
    def deployed(cls, layer_param: proto.LayerParameter) -> proto.LayerParameter | None:
        return None

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        scores, label = bottom_shapes
        self.axis = canonical_axis(self, self.param.axis, len(scores))
        check_label_count(self, scores, label, self.axis)
        return [scores[self.axis :]] * max(1, len(self.layer_param.top))

    def laid_out(self, scores: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (outer, classes, inner), and labels (outer, 1, inner)."""
        scores = scores.flatten(0, self.axis - 1) if self.axis else scores.unsqueeze(0)
        scores = scores.flatten(2) if scores.dim() > 2 else scores.unsqueeze(2)
        return scores, label.reshape(scores.shape[0], 1, scores.shape[2])


@register("PrecisionRecall", field="precision_recall_param", number=1458)
class PrecisionRecall(ClassScores):
    """Tops (classes, ...): of what was called a class, the share that is; of what is one, the share that was called so.

    As in CAFFE-DACH (JiahaoLi-gdut/CAFFE-DACH@388c826), where the field is 158. The shares are over all items of the
    batch, and 1 where there are none. The class of an item is that of its largest score, the first of several.
    """

    param: proto.PrecisionRecallParameter
    Param = PrecisionRecallParameter
    tops = 2

    @torch.no_grad()
    def forward(self, scores: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        shape = scores.shape[self.axis :]
        scores, label = self.laid_out(scores, label)
        classes = torch.arange(scores.shape[1], device=scores.device).reshape(1, -1, 1)
        called, real = scores.argmax(1, keepdim=True) == classes, label == classes
        right = (called & real).sum(0)
        found = []
        for some in (called, real):
            count = some.sum(0)
            found.append(torch.where(count > 0, right / count.clamp(min=1), 1.0).to(scores.dtype).reshape(shape))
        return found[0], found[1]
