"""Proposal: the regions of interest of a region proposal network, for one image."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.forks import suppression_onnx, suppression_parts
from sdcaffe.forks.rcnn import source_parts
from sdcaffe.layers.base import Layer, OnnxBuilder, Shape, Source, SourceBuilder, call, number, register, show_shape


class ProposalParameter:
    feat_stride: int = 16
    base_size: int = 16
    min_size: int = 16
    ratio: list[float]
    scale: list[float]
    pre_nms_topn: int = 6000
    post_nms_topn: int = 300
    nms_thresh: float = 0.7
    # Synopsys' Caffe, where they are 2, 3, 4, 5, 7 and 8
    anchor_base_size: Annotated[int, 1002] = 16
    anchor_scale: Annotated[int, 1003] = 3
    anchor_ratio: Annotated[int, 1004] = 3
    max_rois: Annotated[int, 1005] = 300
    rpn_min_size: Annotated[float, 1007] = 16.0
    rpn_nms_thresh: Annotated[float, 1008] = 0.7


@register("Proposal", field="proposal_param", number=8266713)
class Proposal(Layer):
    """Anchors moved by predictions, cut to the image, those that overlap better ones dropped, the best kept.

    As in PVANet (sanghoon/caffe@6068dd0). Bottoms: scores (1, 2 * anchors, h, w), of which the second half is of
    objects; moves (1, 4 * anchors, h, w); and the image's height, width and the scale of its height and width, four
    numbers, or three where there is one scale; what stands behind them, as in PVANet's nets, is not looked at. Anchors
    are those of each ratio and, within it, of each scale. A box below min_size times the scale has the score 0; of
    pre_nms_topn boxes at most post_nms_topn are kept.
    Tops: regions (r, 5), the image 0 and x1, y1, x2, y2, best first; and perhaps their scores (r). No gradient goes
    to a bottom. In an ONNX model equal scores stand in the order of their places, not as PVANet's quicksort leaves
    them. Raises LayerError for a batch of more than one image.
    """

    param: proto.ProposalParameter
    origin = "PVANet (sanghoon/caffe)"

    Param = ProposalParameter
    bottoms = 3
    tops = (1, 2)
    index_bottoms = (0, 1, 2)
    dynamic = True
    chooses = True
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        param = self.param
        if not param.ratio or not param.scale:
            raise self.error("needs at least one ratio and one scale", "ratio" if not param.ratio else "scale")
        if min(*param.ratio, *param.scale) <= 0:
            raise self.error("ratio and scale must be above 0", "ratio")
        for field in ("feat_stride", "base_size", "pre_nms_topn", "post_nms_topn"):
            if getattr(param, field) < 1:
                raise self.error(f"{field} must be at least 1, not {getattr(param, field)}", field)
        self.check(bottom_shapes, len(param.ratio) * len(param.scale))
        kept = param.post_nms_topn
        return [(kept, 5), (kept,)][: len(self.layer_param.top)]

    def check(self, bottom_shapes: list[Shape], count: int) -> None:
        """Raise LayerError where bottoms are not those of `count` anchors a place, and one image."""
        scores, moves, image = bottom_shapes
        if len(scores) != 4 or scores[:2] != (1, 2 * count):
            raise self.error(
                f"needs scores (1, {2 * count}, h, w), {count} anchors for one image: {show_shape(scores)}"
            )
        if moves != (1, 4 * count, *scores[2:]):
            raise self.error(f"needs moves (1, {4 * count}, h, w) of the scores' size, not {show_shape(moves)}")
        if math.prod(image) < 3:
            raise self.error(f"needs the image's height, width and one or two scales, not {show_shape(image)}")

    def _anchors(self) -> list[list[float]]:
        """x1, y1, x2, y2 of each anchor at the first place; in float32, on which the rounding hangs."""
        size, one = np.float32(self.param.base_size), np.float32(1)
        middle = (size - one) / 2
        found = []
        for ratio in map(np.float32, self.param.ratio):
            width = np.floor(np.sqrt(size * size / ratio) + np.float32(0.5))
            height = np.floor(width * ratio + np.float32(0.5))
            for scale in map(np.float32, self.param.scale):
                x, y = (width * scale - one) / 2, (height * scale - one) / 2
                found.append([float(v) for v in (middle - x, middle - y, middle + x, middle + y)])
        return found

    def forward(self, scores: Tensor, moves: Tensor, image: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        param = self.param
        first, second, third = (values.detach().cpu() for values in (scores, moves, image))
        limits = (param.feat_stride, param.min_size, param.pre_nms_topn, param.post_nms_topn, param.nms_thresh)
        regions, found = source_parts.proposals(first, second, third, self._anchors(), *limits)
        regions, found = regions.to(scores), found.to(scores)
        return regions if len(self.layer_param.top) == 1 else (regions, found)

    def to_onnx(self, builder: OnnxBuilder, *bottoms: Tensor) -> Tensor | tuple[Tensor, ...]:
        param = self.param
        scores, moves, image = bottoms
        limits = (param.feat_stride, param.min_size)
        boxes, score = source_parts.scored_boxes(scores, moves, image, self._anchors(), *limits)
        best, order = score.topk(min(param.pre_nms_topn, score.shape[0]))
        return self.apart(builder, boxes.index_select(0, order), best, param.nms_thresh, param.post_nms_topn)[
            : len(self.layer_param.top)
        ]

    def apart(
        self, builder: OnnxBuilder, boxes: Tensor, best: Tensor, overlap: float, most: int
    ) -> tuple[Tensor, Tensor]:
        """The tops of boxes (m, 4) whose scores `best` (m) fall. The last pixel is part of a box."""
        sides = torch.cat([boxes[:, :2], boxes[:, 2:] + 1], 1).unsqueeze(0)
        held = suppression_onnx.kept(builder, sides, best.unsqueeze(0), overlap, most=most)
        chosen = (held.squeeze(0) > -torch.inf).nonzero().squeeze(1)
        boxes = boxes.index_select(0, chosen)
        return torch.cat([torch.zeros_like(boxes[:, :1]), boxes], 1), best.index_select(0, chosen)

    def example(self, index: int, shapes: list[Shape], random: np.random.Generator) -> np.ndarray | None:
        if index != 2:
            return None
        sides = [size * self.param.feat_stride for size in shapes[0][2:]]
        scale = 0.05  # no box is too small: whose scores are equal may stand in another order
        return np.array([*sides, *[scale] * (math.prod(shapes[2]) - 2)]).reshape(shapes[2])

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        param = self.param
        limits = (param.feat_stride, param.min_size, param.pre_nms_topn, param.post_nms_topn)
        own = (source_parts.moved_anchors, source_parts.scored_boxes)
        for helper in (*own, *source_parts.SORT, *suppression_parts.ALL):
            builder.part(helper)
        part = builder.part(source_parts.proposals)
        text = call(part, "{0}", "{1}", "{2}", str(self._anchors()), *map(str, limits), number(param.nms_thresh))
        return Source(text if len(self.layer_param.top) == 2 else f"{text}[0]", nests=False)
