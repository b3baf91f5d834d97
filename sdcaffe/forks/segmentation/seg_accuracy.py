"""SegAccuracy: how many pixels are right, in all and by class, and how far classes overlap. Not differentiable."""

from __future__ import annotations

import enum

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.layers.base import Layer, Shape, register, show_shape
from sdcaffe.layers.loss import class_labels
from sdcaffe.proto import past


class AccuracyMetric(enum.IntEnum):
    PixelAccuracy = 0
    ClassAccuracy = 1
    PixelIOU = 2


class SegAccuracyParameter:
    metric: AccuracyMetric = AccuracyMetric.PixelAccuracy
    ignore_label: list[int]
    reset: bool = True


past.tell("SegAccuracyParameter", ["metric"], "the top has all three, as in DeepLab and PSPNet")


@register("SegAccuracy", field="seg_accuracy_param", number=1144)  # theirs is 144, BVLC's crop_param
class SegAccuracy(Layer):
    """Scores (n, classes, h, w) and labels (n, 1, h, w) to (1, 1, 1, 3), as in PSPNet's Caffe (hszhao/PSPNet@798bdc9).

    The share of pixels that are right; its mean over the classes that have pixels; and the mean over all classes of
    intersection over union, 1 for a class without any. Of equal scores the highest class counts. Pixels whose label
    is an ignore_label do not count. With reset: false the pixels of all passes so far are counted together.
    """

    param: proto.SegAccuracyParameter
    Param = SegAccuracyParameter
    origin = "PSPNet (hszhao/PSPNet)"
    bottoms = 2
    index_bottoms = (1,)
    drawn_as = "loss"
    judges = True
    yields = True
    counts: Tensor | None = None

    @classmethod
    def deployed(cls, layer_param: proto.LayerParameter) -> proto.LayerParameter | None:
        return None

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        scores, label = bottom_shapes
        if len(scores) != 4 or label != (scores[0], 1, *scores[2:]):
            raise self.error(
                f"needs scores (n, classes, h, w) and labels (n, 1, h, w), not {show_shape(scores)} and "
                f"{show_shape(label)}"
            )
        return [(1, 1, 1, 3)]

    @torch.no_grad()
    def forward(self, scores: Tensor, label: Tensor) -> Tensor:
        classes, ignored = scores.shape[1], list(self.param.ignore_label)
        if ignored:
            left_out = torch.isin(label.long(), torch.tensor(ignored, device=label.device))
            label = label.masked_fill(left_out, ignored[0])
        labels = class_labels(self, label.squeeze(1), classes, ignored[0] if ignored else None)
        chosen = classes - 1 - scores.flip(1).argmax(1)
        cells = labels.index * classes + chosen
        kept = torch.ones_like(cells) if labels.kept is None else labels.kept.long()
        counts = cells.new_zeros(classes * classes).index_add(0, cells.flatten(), kept.flatten())
        counts = counts.reshape(classes, classes)
        if not self.param.reset:
            counts = counts if self.counts is None else counts + self.counts
            self.counts = counts
        right, real, called = (part.double() for part in (counts.diagonal(), counts.sum(1), counts.sum(0)))
        union = real + called - right
        recall = (right / real.clamp(min=1)).sum() / (real > 0).sum().clamp(min=1)
        overlap = torch.where(union > 0, right / union.clamp(min=1), 1).mean()
        found = torch.stack([right.sum() / real.sum().clamp(min=1), recall, overlap])
        return labels.mark(found.to(scores.dtype).reshape(1, 1, 1, 3))
