"""DetectionEvaluate: which detections of a batch are right. What that is worth is average_precision's to say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.forks.ssd.messages import ResizeParameter
from sdcaffe.forks.ssd.sizes import Boxes, NamedSize, in_pixels, read_sizes
from sdcaffe.layers.base import Layer, Shape, register, show_shape

Rows = npt.NDArray[np.float32]


class DetectionEvaluateParameter:
    num_classes: int
    background_label_id: int = 0
    overlap_threshold: float = 0.5
    evaluate_difficult_gt: bool = True
    name_size_file: str
    resize_param: ResizeParameter


@register("DetectionEvaluate", field="detection_evaluate_param", number=205)
class DetectionEvaluate(Layer):
    """Detections held against labelled boxes, as in SSD (weiliu89/caffe@4817bf8).

    Bottoms: DetectionOutput's rows (1, 1, m, 7) and a label's (1, 1, boxes, 8), up to the first of item -1.
    The top is (1, 1, rows, 5): first for each class but the background -1, class, its number of boxes, -1,
    -1; then for each detection item, class, confidence, true (0 or 1), false (0 or 1). A detection is true
    where the box of its class that it overlaps most does so by overlap_threshold and no better detection has
    it. With evaluate_difficult_gt: false difficult boxes are not counted, and a detection of one is neither.

    With name_size_file boxes are compared in whole pixels of their images, each line of the file being
    the next item with detections; behind its last line it begins again. Raises LayerError for a box or
    a detection of the background's label.
    """

    param: proto.DetectionEvaluateParameter
    Param = DetectionEvaluateParameter
    bottoms = 2
    index_bottoms = (0, 1)
    dynamic = True
    yields = True

    def __init__(
        self, layer_param: proto.LayerParameter, phase: int, given: Mapping[int, Tensor] | None = None
    ) -> None:
        super().__init__(layer_param, phase, given)
        self.sizes: list[NamedSize] | None = None
        self.seen = 0  # images of the file that have had their turn

    @classmethod
    def deployed(cls, layer_param: proto.LayerParameter) -> proto.LayerParameter | None:
        return None

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        param = self.param
        if param.num_classes < 1:
            raise self.error(f"num_classes must be at least 1, not {param.num_classes}", "num_classes")
        if not param.overlap_threshold > 0:
            raise self.error(f"overlap_threshold must be above 0, not {param.overlap_threshold:g}", "overlap_threshold")
        for shape, width in zip(bottom_shapes, (7, 8), strict=True):
            if len(shape) != 4 or shape[:2] != (1, 1) or shape[3] != width:
                raise self.error(f"needs bottoms (1, 1, m, 7) and (1, 1, boxes, 8), not {show_shape(shape)}")
        resize = param.resize_param if param.HasField("resize_param") else None
        if resize is not None and not (resize.height and resize.width):
            raise self.error("resize_param needs a height and a width", "resize_param")
        if self.sizes is None:
            self.sizes = read_sizes(param.name_size_file) if param.HasField("name_size_file") else []
        self.resize = resize
        self.classes = [label for label in range(param.num_classes) if label != param.background_label_id]
        return [(1, 1, len(self.classes) + bottom_shapes[0][2], 5)]

    def shapes_at(self, bottoms: Sequence[Tensor]) -> list[Shape]:
        self.setup([tuple(bottom.shape) for bottom in bottoms])
        return [(1, 1, len(self.classes) + int((bottoms[0].reshape(-1, 7)[:, 1] != -1).sum()), 5)]

    def forward(self, detections: Tensor, label: Tensor) -> Tensor:
        found = detections.detach().reshape(-1, 7).cpu().numpy().astype(np.float32)
        truth = label.detach().reshape(-1, 8).cpu().numpy().astype(np.float32)
        end = np.flatnonzero(truth[:, 0].astype(int) == -1)
        truth = truth[: end[0]] if len(end) else truth
        found = found[found[:, 0].astype(int) != -1]
        for rows, what in ((truth, "box of the label"), (found, "detection")):
            if self.param.background_label_id in rows[:, 1].astype(int) and self.param.background_label_id != -1:
                raise self.error(f"a {what} is of the background's label", "background_label_id")
        rows = [*self._numbers(truth), *self._judged(found, truth)]
        table = torch.from_numpy(np.concatenate([np.zeros((0, 5), np.float32), *rows]))
        return table.to(detections).reshape(1, 1, -1, 5)

    def _numbers(self, truth: Rows) -> Iterator[Rows]:
        """The row of each class: how many boxes it has."""
        counted = truth if self.param.evaluate_difficult_gt else truth[truth[:, 7] == 0]
        for label in self.classes:
            number = (counted[:, 1].astype(int) == label).sum()
            yield np.array([[-1, label, number, -1, -1]], np.float32)

    def _judged(self, found: Rows, truth: Rows) -> Iterator[Rows]:
        """The rows of the detections, by item and then by label."""
        for item in np.unique(found[:, 0].astype(int)):
            own = found[found[:, 0].astype(int) == item]
            boxes = truth[truth[:, 0].astype(int) == item]
            for label in np.unique(own[:, 1].astype(int)):
                if label != -1:
                    yield self._of_class(own[own[:, 1].astype(int) == label], boxes[boxes[:, 1].astype(int) == label])
            if self.sizes:
                self.seen = (self.seen + 1) % len(self.sizes)

    def _of_class(self, found: Rows, truth: Rows) -> Rows:
        """The rows of an item's detections of a class, beside its boxes of that class."""
        rows = np.zeros((len(found), 5), np.float32)
        if not len(truth):
            rows[:, :3], rows[:, 4] = found[:, :3], 1
            return rows
        found = found[np.argsort(-found[:, 2], kind="stable")]
        rows[:, :3] = found[:, :3]
        overlap = self._overlaps(found[:, 3:7], truth[:, 3:7])
        taken: set[int] = set()
        for i, best in enumerate(overlap.argmax(1).tolist()):
            if overlap[i, best] < np.float32(self.param.overlap_threshold):
                rows[i, 4] = 1
            elif self.param.evaluate_difficult_gt or truth[best, 7] == 0:
                rows[i, 3:] = (0, 1) if best in taken else (1, 0)
                taken.add(best)
        return rows

    def _overlaps(self, found: Boxes, truth: Boxes) -> Boxes:
        """Intersection over union of each detection with each box, (m, boxes)."""
        more = 0
        if self.sizes:
            more, size = 1, self.sizes[self.seen]
            (found, found_areas), (truth, truth_areas) = (in_pixels(b, size, self.resize) for b in (found, truth))
        else:
            found_areas, truth_areas = ((b[:, 2:] - b[:, :2]).clip(min=0).prod(1) for b in (found, truth))
        apart = (truth[None, :, :2] > found[:, None, 2:]) | (truth[None, :, 2:] < found[:, None, :2])
        first = np.maximum(found[:, None, :2], truth[None, :, :2])
        sides = np.minimum(found[:, None, 2:], truth[None, :, 2:]) - first
        sides = np.where(apart.any(2, keepdims=True), 0, sides) + more
        common = sides.prod(2)
        union = found_areas[:, None] + truth_areas - common
        with np.errstate(divide="ignore"):  # in pixels boxes apart share one, which may be all that they have
            return np.divide(common, union, out=np.zeros_like(common), where=(sides > 0).all(2))
