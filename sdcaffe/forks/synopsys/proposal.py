"""Synopsys' Proposal: py-faster-rcnn's regions, with anchors counted instead of listed."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.forks import suppression_parts
from sdcaffe.forks.rcnn import source_parts as rcnn
from sdcaffe.forks.rcnn.proposal import Proposal
from sdcaffe.forks.synopsys import source_parts
from sdcaffe.layers.base import OnnxBuilder, Shape, Source, SourceBuilder, call, number, register

_FIELDS = ("anchor_base_size", "anchor_scale", "anchor_ratio", "max_rois", "rpn_min_size", "rpn_nms_thresh")
_THREE = {"anchor_scale": (8.0, 16.0, 32.0), "anchor_ratio": (0.5, 1.0, 2.0)}
_ONE = {"anchor_scale": (32.0,), "anchor_ratio": (1.0,)}


def _is_synopsys(layer_param: proto.LayerParameter) -> bool:
    given = {field.name for field, _ in layer_param.proposal_param.ListFields()}
    return bool(given.intersection(_FIELDS)) or not given.intersection(("ratio", "scale"))


@register("Proposal", field="proposal_param", when=_is_synopsys)
class SynopsysProposal(Proposal):
    """Proposal where no ratio and scale are listed: foss-for-synopsys-dwc-arc-processors/synopsys-caffe@977ba36.

    Bottoms as of PVANet's, the image with one scale. anchor_scale 3 is 8, 16 and 32, else 32; anchor_ratio 3 is 0.5, 1
    and 2, else 1. Boxes below rpn_min_size times the scale are dropped, but for the last of all, which the fork does
    not look at. Of the others, by score, at most max_rois are kept that overlap none before by more than
    rpn_nms_thresh; those behind the first pre_nms_topn, whose order the fork leaves open, come by score too. The second
    top is (r, 1). No gradient goes to a bottom.
    """

    origin = "Synopsys Caffe"

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        param = self.param
        for field in ("feat_stride", "anchor_base_size", "pre_nms_topn", "max_rois"):
            if getattr(param, field) < 1:
                raise self.error(f"{field} must be at least 1, not {getattr(param, field)}", field)
        self.check(bottom_shapes, len(self._of("anchor_scale")) * len(self._of("anchor_ratio")))
        tops: list[Shape] = [(param.max_rois, 5), (param.max_rois, 1)]
        return tops[: len(self.layer_param.top)]

    def _of(self, field: str) -> tuple[float, ...]:
        return (_THREE if getattr(self.param, field) == 3 else _ONE)[field]

    def _anchors(self) -> list[list[float]]:
        """x1, y1, x2, y2 of each anchor at the first place."""
        size = self.param.anchor_base_size
        middle, found = (size - 1) / 2, []
        for ratio in self._of("anchor_ratio"):
            width = math.floor(math.sqrt(size * size / ratio) + 0.5)
            height = math.floor(width * ratio + 0.5)
            for scale in self._of("anchor_scale"):
                x, y = (width * scale - 1) / 2, (height * scale - 1) / 2
                found.append([middle - x, middle - y, middle + x, middle + y])
        return found

    def forward(self, scores: Tensor, moves: Tensor, image: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        param = self.param
        first, second, third = (values.detach().cpu() for values in (scores, moves, image))
        limits = (param.feat_stride, param.rpn_min_size, param.max_rois, param.rpn_nms_thresh)
        regions, found = source_parts.regions(first, second, third, self._anchors(), *limits)
        regions, found = regions.to(scores), found.to(scores)
        return regions if len(self.layer_param.top) == 1 else (regions, found)

    def to_onnx(self, builder: OnnxBuilder, *bottoms: Tensor) -> Tensor | tuple[Tensor, ...]:
        param = self.param
        scores, moves, image = bottoms
        limits = (param.feat_stride, param.rpn_min_size)
        boxes, score, large = source_parts.sized_boxes(scores, moves, image, self._anchors(), *limits)
        score = torch.where(large, score, torch.full_like(score, -torch.inf)).flip(0)  # of equal ones the later first
        best, order = score.topk(score.shape[0])
        boxes = boxes.flip(0).index_select(0, order)
        regions, found = self.apart(builder, boxes, best, param.rpn_nms_thresh, param.max_rois)
        return (regions, found.unsqueeze(1))[: len(self.layer_param.top)]

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        param = self.param
        for helper in (rcnn.moved_anchors, source_parts.sized_boxes, *suppression_parts.ALL):
            builder.part(helper)
        part = builder.part(source_parts.regions)
        limits = (str(param.feat_stride), number(param.rpn_min_size), str(param.max_rois), number(param.rpn_nms_thresh))
        text = call(part, "{0}", "{1}", "{2}", str(self._anchors()), *limits)
        return Source(text if len(self.layer_param.top) == 2 else f"{text}[0]", nests=False)
