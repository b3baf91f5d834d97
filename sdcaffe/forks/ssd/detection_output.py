"""DetectionOutput: from SSD's predictions to detections, in a blob and in files. It shows nothing."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.forks import suppression_parts
from sdcaffe.forks.ssd import detection_onnx, source_parts
from sdcaffe.forks.ssd.boxes import Array, CodeType, decode, suppress
from sdcaffe.forks.ssd.messages import NonMaximumSuppressionParameter, ResizeParameter
from sdcaffe.forks.ssd.saved_output import SavedOutput
from sdcaffe.forks.ssd.soft_suppression import suppress_softly
from sdcaffe.layers.base import (
    Count,
    Layer,
    OnnxBuilder,
    Shape,
    Source,
    SourceBuilder,
    call,
    number,
    register,
    show_shape,
)


class SaveOutputParameter:
    output_directory: str
    output_name_prefix: str
    output_format: str
    label_map_file: str
    name_size_file: str
    num_test_image: int
    resize_param: ResizeParameter


class DetectionOutputParameter:
    num_classes: int
    share_location: bool = True
    background_label_id: int = 0
    nms_param: NonMaximumSuppressionParameter
    save_output_param: SaveOutputParameter
    code_type: CodeType = CodeType.CORNER
    keep_top_k: int = -1
    variance_encoded_in_target: bool = False
    confidence_threshold: float
    visualize: bool = False
    visualize_threshold: float
    save_file: str
    clip: Annotated[bool, 1000] = False  # as OpenCV 4.14's opencv-caffe.proto numbers it
    objectness_score: Annotated[float, 24] = 0.01  # of RefineDet's and Synopsys' Caffe
    no_permute: Annotated[bool, 32] = False  # of Synopsys', as is the next
    nbottom: Annotated[int, 33] = 6


@register("DetectionOutput", field="detection_output_param", number=204)
class DetectionOutput(Layer):
    """Boxes decoded, those that overlap better ones of their class dropped, the best kept.

    As in SSD (weiliu89/caffe@4817bf8). With `clip`, which OpenCV's detectors have, boxes are cut to the image
    before they are compared; with `soft_nms`, which deepdetect's have, scores fall as `suppress_softly` says.

    Bottoms: offsets (n, boxes * 4), of each class apart where share_location is false; confidences
    (n, boxes * num_classes); PriorBox's (1, 2, boxes * 4); and perhaps the images, which are not looked at.
    The top is (1, 1, detections, 7), each row: image, label, confidence, xmin, ymin, xmax, ymax, by image,
    then label, then falling confidence. Without any detection it has a row for each image: its number and
    six times -1. No gradient goes to a bottom.
    """

    param: proto.DetectionOutputParameter
    Param = DetectionOutputParameter
    bottoms: ClassVar[Count] = (3, 4)
    index_bottoms: ClassVar[tuple[int, ...]] = (0, 1, 2, 3)
    dynamic = True
    chooses = True
    yields = True

    def __init__(
        self, layer_param: proto.LayerParameter, phase: int, given: Mapping[int, Tensor] | None = None
    ) -> None:
        super().__init__(layer_param, phase, given)
        self.told: set[str] = set()
        self.saved: SavedOutput | None = None

    @classmethod
    def deployed(cls, layer_param: proto.LayerParameter) -> proto.LayerParameter | None:
        """Without the files that it saves."""
        kept = proto.LayerParameter()
        kept.CopyFrom(layer_param)
        kept.detection_output_param.ClearField("save_output_param")
        return kept

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        location, confidence, prior = bottom_shapes[:3]
        param = self.param
        if param.num_classes < 1:
            raise self.error(f"num_classes must be at least 1, not {param.num_classes}", "num_classes")
        if len(prior) != 3 or prior[1] != 2 or prior[2] % 4:
            raise self.error(f"the third bottom must be PriorBox's (1, 2, boxes * 4), not {show_shape(prior)}")
        if location[:1] != confidence[:1]:
            raise self.error(
                f"{show_shape(location)} of offsets and {show_shape(confidence)} of confidences differ in n"
            )
        if param.share_location and param.background_label_id == -1:
            raise self.error(
                "background_label_id: -1 (no background) needs share_location: false, as in SSD", "background_label_id"
            )
        self.priors = prior[2] // 4
        self.location_classes = 1 if param.share_location else param.num_classes
        for what, shape, each in (
            ("offsets", location, 4 * self.location_classes),
            ("confidences", confidence, param.num_classes),
        ):
            if math.prod(shape[1:]) != self.priors * each:
                raise self.error(
                    f"{self.priors} prior boxes need {self.priors * each} {what} an image, {each} each; "
                    f"the bottom is {show_shape(shape)}"
                )
        nms = param.nms_param
        if not nms.nms_threshold >= 0:
            raise self.error(f"nms_threshold must be 0 or more, not {nms.nms_threshold:g}", "nms_threshold")
        if nms.soft_nms and not nms.theta > 0:
            raise self.error(f"theta must be above 0, not {nms.theta:g}", "theta")
        if not 0 < nms.eta <= 1:
            raise self.error(f"eta must be above 0 and at most 1, not {nms.eta:g}", "eta")
        save = param.save_output_param
        if param.visualize:
            self._tell("visualize, a window in SSD's Caffe, is not opened; sdcaffe detect draws what is found")
        if save.output_directory and not (save.label_map_file and save.name_size_file):
            self._tell("nothing is saved without label_map_file and name_size_file in save_output_param")
        return [(1, 1, 1, 7)]

    def _tell(self, message: str) -> None:
        """A warning, once."""
        if message not in self.told:
            self.told.add(message)
            logging.getLogger("sdcaffe").warning('layer "%s" (%s): %s', self.name, self.type, message)

    def forward(self, *bottoms: Tensor) -> Tensor:
        n, location = bottoms[0].shape[0], bottoms[0]
        boxes, scores = (values.detach().cpu() for values in self.candidates(*bottoms))
        found = torch.cat([self._detections(image, boxes[image], scores[image]) for image in range(n)])
        if not len(found):
            found = torch.full((n, 7), -1.0, dtype=boxes.dtype)
            found[:, 0] = torch.arange(n)
        self._save(n, found.numpy())
        return found.to(location).reshape(1, 1, -1, 7)

    def candidates(self, *bottoms: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes (n, priors, 1 or classes, 4) and scores (n, priors, classes)."""
        location, confidence, prior = bottoms[:3]
        n, param = location.shape[0], self.param
        priors, variances = prior[0].reshape(2, self.priors, 1, 4)
        boxes = self.decoded(location, priors, variances)
        return boxes.clamp(0, 1) if param.clip else boxes, confidence.reshape(n, self.priors, param.num_classes)

    def decoded(self, location: Tensor, priors: Tensor, variances: Tensor) -> Tensor:
        """The boxes (n, priors, 1 or classes, 4) of offsets from `priors`, (priors, 1, 4) or (n, priors, 1, 4)."""
        offsets = location.reshape(location.shape[0], self.priors, -1, 4)
        return decode(
            offsets, priors, None if self.param.variance_encoded_in_target else variances, self.param.code_type
        )

    @property
    def _adapts(self) -> bool:
        """Whether the overlap that is allowed falls with each box that is kept."""
        nms = self.param.nms_param
        return nms.eta < 1 and nms.nms_threshold > 0.5

    def to_onnx(self, builder: OnnxBuilder, *bottoms: Tensor) -> Tensor:
        param, nms = self.param, self.param.nms_param
        if nms.soft_nms:
            raise self.error("soft_nms cannot be exported: ONNX has no such suppression", "soft_nms")
        if self._adapts:
            raise self.error(
                f"eta {nms.eta:g} with nms_threshold {nms.nms_threshold:g} cannot be exported: ONNX's "
                "NonMaxSuppression has one threshold for all boxes"
            )
        boxes, scores = self.candidates(*bottoms)
        labels = [label for label in range(param.num_classes) if label != param.background_label_id]
        found = detection_onnx.rows(
            builder,
            boxes,
            scores,
            labels,
            overlap=min(nms.nms_threshold, 1.0),
            least=param.confidence_threshold if param.HasField("confidence_threshold") else None,
            top_k=nms.top_k if nms.HasField("top_k") else -1,
            keep=param.keep_top_k,
        )
        return found.reshape(1, 1, -1, 7)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        return Source(self._written(builder, "{0}", "{1}", "{2}"), nests=False)

    def _written(self, builder: SourceBuilder, *bottoms: str) -> str:
        """The call that gives the rows of offsets, confidences and prior boxes."""
        param, nms = self.param, self.param.nms_param
        if nms.soft_nms:
            raise self.unwritten("soft_nms")
        given: dict[str, str | None] = {
            "background": str(param.background_label_id),
            "code": str(int(param.code_type)),
            "encoded": str(param.variance_encoded_in_target),
            "clip": str(param.clip),
            "least": number(param.confidence_threshold) if param.HasField("confidence_threshold") else None,
            "top_k": str(nms.top_k) if nms.HasField("top_k") else None,
            "eta": number(nms.eta),
            "keep": str(param.keep_top_k),
        }
        own = (source_parts.decoded, source_parts.places_in_sets, source_parts.detected)
        for helper in (*suppression_parts.ALL, *own):
            builder.part(helper)
        part = builder.part(source_parts.detections)
        return call(part, *bottoms, str(param.num_classes), number(nms.nms_threshold), **given)

    def _save(self, images: int, rows: Array) -> None:
        """What save_output_param wants of a batch's rows, if it wants anything."""
        save, param = self.param.save_output_param, self.param
        if not (save.output_directory and save.label_map_file and save.name_size_file):
            return
        if self.saved is None:
            self.saved = SavedOutput(save, param.num_classes, param.background_label_id)
        self.saved.add(images, rows.astype(np.float32))

    def _detections(self, image: int, boxes: Tensor, scores: Tensor) -> Tensor:
        """The rows of one image, of boxes (priors, 1 or classes, 4) and scores (priors, classes)."""
        param = self.param
        parts = []
        for label, own in enumerate(scores.t().contiguous()):
            if label != param.background_label_id:
                sides = boxes[:, label % self.location_classes]
                kept = self._kept(sides, own)
                facts = torch.tensor([image, label], dtype=boxes.dtype).expand(len(kept), 2)
                parts.append(torch.cat([facts, own[kept, None], sides[kept]], 1))
        found = torch.cat(parts) if parts else boxes.new_zeros(0, 7)
        if -1 < param.keep_top_k < len(found):
            found = found[found[:, 2].sort(descending=True, stable=True)[1][: param.keep_top_k]]
            found = found[found[:, 1].sort(stable=True)[1]]
        return found

    def _kept(self, boxes: Tensor, scores: Tensor) -> Tensor:
        """Indices of the boxes (priors, 4) of one class that are kept, best first."""
        nms = self.param.nms_param
        least = self.param.confidence_threshold if self.param.HasField("confidence_threshold") else -math.inf
        tried = (scores > least).nonzero()[:, 0]
        tried = tried[scores[tried].sort(descending=True, stable=True)[1]]
        if nms.HasField("top_k") and nms.top_k > -1:
            tried = tried[: nms.top_k]
        if nms.soft_nms:
            return tried[suppress_softly(boxes[tried], scores[tried].tolist(), nms)]
        if not self._adapts:
            from torchvision import ops  # here, as it takes as long to import as torch

            return tried[ops.nms(boxes[tried], scores[tried], nms.nms_threshold)]
        kept = suppress(boxes[tried].numpy(), scores[tried].numpy(), overlap=nms.nms_threshold, eta=nms.eta)
        return tried[kept]
