"""EvalDetection: YOLO version 2's boxes scored against labels, as Intel Caffe counts them."""

from __future__ import annotations

import enum

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.forks.yolo import grid, source_parts
from sdcaffe.forks.yolo.overlap import iou
from sdcaffe.layers.base import Layer, Shape, register, show_shape

_BOXES = 5  # a cell: the fork looks at five, whatever num_object is
_LEAST = 0.005  # scores below are left out


class ScoreType(enum.IntEnum):
    OBJ = 0
    PROB = 1
    MULTIPLY = 2


class EvalDetectionParameter:
    side: int = 7
    num_class: int = 20
    num_object: int = 2
    threshold: float = 0.5
    sqrt: bool = True
    constriant: bool = True
    score_type: ScoreType = ScoreType.MULTIPLY
    nms: float = -1.0
    biases: list[float]


@register("EvalDetection", field="eval_detection_param", number=301)
class EvalDetection(Layer):
    """For each image how many boxes of each class there are, then class, score, right and wrong of each detection.

    As in Intel Caffe (intel/caffe@44d5363). Bottoms: (n, num_object * (5 + num_class), side, side), of which the first
    five boxes of a cell count, and detection labels (1, 1, boxes, 8), classes from 1; further ones, such as the data of
    Intel's nets, are not looked at. The top is (n, num_class + 4 * num_object * side^2), the places without a detection
    0. Detections have their likeliest class and a score by score_type; those that overlap a better one by `nms` or more
    go, and those below 0.005; with `nms` below 0 there are none, as in the fork. Class by class, best first, one is
    right if the box of its class that it overlaps most, by `threshold` or more, has no better one, and wrong if it has,
    or if the image has no box of its class; else it is neither. biases are the boxes' sizes in cells; sqrt and
    constriant change nothing. No gradient goes to a bottom.
    """

    param: proto.EvalDetectionParameter
    origin = "Intel Caffe"

    Param = EvalDetectionParameter
    bottoms = (2, None)
    index_bottoms = (0, 1)
    not_exported = "it compares with labels"
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        bottom, label = bottom_shapes[:2]
        param = self.param
        if param.num_object < _BOXES:
            raise self.error(f"num_object must be at least {_BOXES}, not {param.num_object}", "num_object")
        if len(param.biases) < 2 * _BOXES or min(param.biases) <= 0:
            raise self.error(f"biases must be {_BOXES} pairs of a width and a height above 0", "biases")
        grid.check_maps(self, bottom, param.num_object, 5 + param.num_class)
        if bottom[2:] != (param.side, param.side):
            raise self.error(f"needs maps of side {param.side}, not {show_shape(bottom)}", "side")
        if not label or label[-1] != 8:
            raise self.error(f"needs labels (1, 1, boxes, 8), not {show_shape(label)}")
        return [(bottom[0], param.num_class + param.side**2 * param.num_object * 4)]

    def forward(self, bottom: Tensor, label: Tensor, *others: Tensor) -> Tensor:
        param = self.param
        n = bottom.shape[0]
        top = torch.zeros(n, param.num_class + param.side**2 * param.num_object * 4)
        maps = bottom.detach().cpu()
        numbers = 5 + param.num_class
        sizes = [
            list(pair) for pair in zip(param.biases[: 2 * _BOXES : 2], param.biases[1 : 2 * _BOXES : 2], strict=True)
        ]
        rows = label.detach().cpu().reshape(-1, 8)
        for i in range(n):
            own = rows[rows[:, 0] == i]
            classes = grid.class_of(self, own[:, 1] - 1, param.num_class)
            top[i, : param.num_class] = torch.bincount(classes, minlength=param.num_class)
            if param.nms < 0:
                continue
            truth = torch.cat([(own[:, 3:5] + own[:, 5:7]) / 2, own[:, 5:7] - own[:, 3:5]], 1)
            found = source_parts.yolo_grid(maps[i : i + 1, : _BOXES * numbers], sizes, 1.0, False)
            judged = self._judged(*self._detections(*found), truth, classes).flatten()
            top[i, param.num_class : param.num_class + len(judged)] = judged
        return top.to(bottom)

    def _detections(self, boxes: Tensor, score: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes (m, 4), scores and classes (m) that are counted, by class and falling score."""
        best, label = numbers.softmax(1).max(1)
        kinds = {int(ScoreType.OBJ): score[:, 0], int(ScoreType.PROB): best}
        given = kinds.get(int(self.param.score_type), score[:, 0] * best)
        order = given.argsort(descending=True, stable=True)
        order = order[source_parts.yolo_kept(boxes[order], self.param.nms)]
        order = order[given[order] >= _LEAST]
        order = order[label[order].argsort(stable=True)]
        return boxes[order], given[order], label[order]

    def _judged(self, boxes: Tensor, scores: Tensor, labels: Tensor, truth: Tensor, classes: Tensor) -> Tensor:
        """Class, score, right, wrong of each detection: (m, 4)."""
        result = torch.stack([labels.to(scores), scores, torch.zeros_like(scores), torch.zeros_like(scores)], 1)
        if not len(classes):
            result[:, 3] = 1
            return result
        shared = iou(boxes[:, None], truth).masked_fill(labels[:, None] != classes, -1)
        most, which = shared.max(1)
        meets = most >= self.param.threshold
        order = torch.arange(len(boxes))
        first = torch.full((len(classes),), len(boxes)).scatter_reduce_(0, which[meets], order[meets], "amin")
        right = meets & (first[which] == order)
        unknown = ~(labels[:, None] == classes).any(1)
        result[:, 2] = right
        result[:, 3] = (meets & ~right) | unknown
        return result
