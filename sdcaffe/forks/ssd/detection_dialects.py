"""DetectionOutput of RefineDet, whose prior boxes are refined first, and of Synopsys' Caffe, which takes maps apart."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.forks.ssd import source_parts
from sdcaffe.forks.ssd.detection_output import DetectionOutput
from sdcaffe.layers.base import Shape, Source, SourceBuilder, register, show_shape

_MANY = tuple(range(64))  # bottoms that take no gradient


def is_refined(layer_param: proto.LayerParameter) -> bool:
    """Whether a DetectionOutput has RefineDet's bottoms: by their number, or by its field with a fourth bottom."""
    own = layer_param.detection_output_param.HasField("objectness_score")
    return len(layer_param.bottom) == 5 or (own and len(layer_param.bottom) == 4)


@register("DetectionOutput", field="detection_output_param", when=is_refined)
class RefinedDetectionOutput(DetectionOutput):
    """DetectionOutput with two more bottoms, as in RefineDet's Caffe and jolibrain/caffe@23928c0.

    Bottom 3: of each prior box how likely it holds nothing and something (n, boxes * 2); where the latter is below
    objectness_score, class 0 has confidence 1 and the others 0. Bottom 4: offsets (n, boxes * 4) by which the prior
    boxes are moved before bottom 0 moves them again. It needs share_location: true.
    """

    origin = "RefineDet"
    bottoms = (4, 5)
    index_bottoms = (0, 1, 2, 3, 4)

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        tops = super().setup(bottom_shapes[:3])
        if not self.param.share_location:
            raise self.error("refined prior boxes need share_location: true", "share_location")
        for what, shape, each in zip(("objectness", "offsets"), bottom_shapes[3:], (2, 4), strict=False):
            if math.prod(shape) != bottom_shapes[0][0] * self.priors * each:
                raise self.error(
                    f"{self.priors} prior boxes need {each} numbers of {what} each, not {show_shape(shape)}"
                )
        return tops

    def candidates(self, *bottoms: Tensor) -> tuple[Tensor, Tensor]:
        location, confidence, prior, objectness = bottoms[:4]
        n, classes = location.shape[0], self.param.num_classes
        priors, variances = prior[0].reshape(2, self.priors, 1, 4)
        if len(bottoms) > 4:
            priors = self.decoded(bottoms[4], priors, variances)
        boxes = self.decoded(location, priors, variances)
        empty = objectness.reshape(n, self.priors, 2)[:, :, 1:] < self.param.objectness_score
        nothing = (torch.arange(classes, device=confidence.device) == 0).to(confidence.dtype)
        scores = torch.where(empty, nothing, confidence.reshape(n, self.priors, classes))
        return boxes.clamp(0, 1) if self.param.clip else boxes, scores

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        raise self.unwritten("a DetectionOutput of refined prior boxes")


@register("DetectionOutput", field="detection_output_param",
          when=lambda layer_param: layer_param.detection_output_param.no_permute)  # fmt: skip
class SeparateDetectionOutput(DetectionOutput):
    """DetectionOutput with no_permute: true, of foss-for-synopsys-dwc-arc-processors/synopsys-caffe@977ba36.

    Bottoms: nbottom maps of confidences (n, num_classes, ratios, h * w); as many of offsets (n, ratios * 4, h, w), of
    each class apart where share_location is false; the prior boxes of all maps, as PriorBox writes them one after the
    other. Boxes are numbered map by map, ratio by ratio, row by row. As in the fork, variances stay in PriorBox's
    order. Each image of a batch has its own detections; in the fork all have the first one's.
    """

    origin = "Synopsys Caffe"
    bottoms = (3, None)
    index_bottoms = _MANY

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        param, count = self.param, self.param.nbottom
        if count < 1 or len(bottom_shapes) != 2 * count + 1:
            wanted = f"{count} maps of confidences, {count} of offsets and the prior boxes"
            raise self.error(f"nbottom: {count} needs {wanted}, not {len(bottom_shapes)} bottoms", "nbottom")
        self.location_classes = 1 if param.share_location else param.num_classes
        confidences, locations = bottom_shapes[:count], bottom_shapes[count : 2 * count]
        boxes = 0
        for confidence, location in zip(confidences, locations, strict=True):
            ratios, rest = divmod(location[1], 4 * self.location_classes) if len(location) == 4 else (0, 1)
            fits = not rest and confidence == (location[0], param.num_classes, ratios, location[2] * location[3])
            if not fits:
                raise self.error(
                    f"confidences (n, {param.num_classes}, ratios, h * w) belong to offsets (n, ratios * "
                    f"{4 * self.location_classes}, h, w), not {show_shape(confidence)} to {show_shape(location)}"
                )
            boxes += ratios * location[2] * location[3]
        n = bottom_shapes[0][0]
        whole = [(n, boxes * 4 * self.location_classes), (n, boxes * param.num_classes), bottom_shapes[-1]]
        return super().setup(whole)

    def candidates(self, *bottoms: Tensor) -> tuple[Tensor, Tensor]:
        count = self.param.nbottom
        parts = list(bottoms[:count]), list(bottoms[count : 2 * count]), bottoms[-1]
        return super().candidates(*source_parts.put_together(*parts, self.location_classes))

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        count = self.param.nbottom
        confidences, locations = (", ".join(f"{{{i}}}" for i in range(first, first + count)) for first in (0, count))
        whole = f"{builder.part(source_parts.put_together)}([{confidences}], [{locations}], {{{2 * count}}}, "
        return Source(self._written(builder, f"*{whole}{self.location_classes})"), nests=False)
