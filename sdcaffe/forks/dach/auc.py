"""AUC: the area under each class's receiver operating characteristic. Not differentiable."""

from __future__ import annotations

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.forks.dach.precision_recall import ClassScores
from sdcaffe.layers.base import register


class AUCParameter:
    axis: int = 1


@register("AUC", field="auc_param", number=1459)
class AUC(ClassScores):
    """Top (classes, ...): how likely an item of a class scores more for it than one of another; a tie counts half.

    As in CAFFE-DACH (JiahaoLi-gdut/CAFFE-DACH@388c826), where the field is 159. NaN where the batch has no item of the
    class, or none of another.
    """

    param: proto.AUCParameter
    Param = AUCParameter

    @torch.no_grad()
    def forward(self, scores: Tensor, label: Tensor) -> Tensor:
        shape = scores.shape[self.axis :]
        scores, label = self.laid_out(scores, label)
        classes = torch.arange(scores.shape[1], device=scores.device).reshape(1, -1, 1)
        real = (label.long() == classes).flatten(1).t().double()
        columns = scores.flatten(1).t().contiguous()
        ordered = columns.sort(1).values
        below = torch.searchsorted(ordered, columns)
        ranks = (below + torch.searchsorted(ordered, columns, right=True) + 1).double() / 2
        positive, n = real.sum(1), real.shape[1]
        area = ((ranks * real).sum(1) - positive * (positive + 1) / 2) / (positive * (n - positive))
        return area.to(scores.dtype).reshape(shape)
