"""RegionLoss: the loss of YOLO version 2, as MobileNet-YOLO and as Intel Caffe have it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.forks.yolo import grid
from sdcaffe.forks.yolo.overlap import iou
from sdcaffe.layers.base import Shape, register, show_shape
from sdcaffe.layers.loss import LossLayer


class RegionLossParameter:
    side: int = 13
    num_class: int = 20
    bias_match: int = 1
    coords: int = 4
    num: int = 5
    softmax: int = 1
    jitter: float = 0.2
    rescore: int = 1
    object_scale: float = 1.0
    class_scale: float = 1.0
    noobject_scale: float = 0.5
    coord_scale: float = 5.0
    absolute: int = 1
    thresh: float = 0.2
    random: int = 1
    biases: list[float]
    softmax_tree: str
    class_map: str


class Matches(NamedTuple):
    """Boxes and the predictions that are trained on them, (m) each, in the order of the labels: the last counts."""

    cell: tuple[Tensor, Tensor, Tensor, Tensor]  # item, row, column and anchor of the prediction
    anchor: Tensor
    place: Tensor  # (m, 2): column and row of the cell that the box's middle is in
    truth: Tensor  # (m, 5): class, x, y, w, h


@register("RegionLoss", field="region_loss_param", number=600)
class RegionLoss(LossLayer):
    """What predictions (n, num * (1 + coords + num_class), h, h) cost; the gradients are no derivatives of it.

    Each of num boxes of a cell has x, y, w, h, the object's score and the classes'; biases are their sizes in cells.
    A box trains the one of its cell whose bias, or with bias_match 0 whose predicted size, fits it best; others learn
    that there is no object, unless they overlap a box by more than `thresh`. The loss is the sum of the squares of
    the gradients. The labels get no gradient; side, softmax, jitter, absolute and random change nothing.

    Labels of 300 rows (class, x, y, w, h) an image, which end where x, or w, is 0: as in MobileNet-YOLO
    (eric612/MobileNet-YOLO@69b4441). The loss is over n; with rescore the object's score is to be the overlap, without
    it 1, and small boxes count more; class_map changes nothing. Detection labels (1, 1, boxes, 8), classes from 1: as
    in Intel Caffe (intel/caffe@44d5363). The loss is not over n, though the gradient is; differences count as 1 at
    most, the object's score is focal, class_map is a file with the number of each class, rescore changes nothing.
    softmax_tree is refused there.
    """

    param: proto.RegionLossParameter
    origin = "MobileNet-YOLO, Intel Caffe"

    Param = RegionLossParameter
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        bottom, label = bottom_shapes
        param = self.param
        if param.coords != 4:
            raise self.error(f"coords must be 4, x, y, w and h, not {param.coords}", "coords")
        if param.num < 1 or len(param.biases) < max(10, 2 * param.num):
            raise self.error(f"biases must be {max(5, param.num)} pairs of a width and a height or more", "biases")
        if min(param.biases) <= 0:
            raise self.error("biases must be above 0", "biases")
        grid.check_maps(self, bottom, param.num, 5 + param.num_class)
        if bottom[2] != bottom[3]:
            raise self.error(f"needs maps as high as wide, not {show_shape(bottom)}")
        self.intel = len(label) > 2 and label[-1] == 8 and label[0] == 1
        if not self.intel:
            grid.check_label(self, bottom, label)
        elif param.softmax_tree:
            raise self.error("softmax_tree, YOLO9000's tree of classes, is not carried here", "softmax_tree")
        self.classes = self._class_map() if self.intel and param.class_map else None
        return [()]

    def _class_map(self) -> Tensor:
        """The number of each class, a line each."""
        path = Path(self.param.class_map)
        try:
            return torch.tensor([int(line.split()[0]) for line in path.read_text().splitlines() if line.strip()])
        except (OSError, ValueError) as error:
            raise self.error(f"class_map {path} has no number a line: {error}", "class_map") from None

    def forward(self, bottom: Tensor, label: Tensor) -> Tensor:
        with torch.no_grad():
            loss, slope = self._found(bottom.detach(), label.detach())
        result: Tensor = grid.GivenGradient.apply(bottom, loss, slope)
        return result

    def _found(self, bottom: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """The loss and the gradient of the bottom."""
        n, _, side, _ = bottom.shape
        param = self.param
        value = bottom.reshape(n, param.num, -1, side, side).permute(0, 3, 4, 1, 2).clone()
        value[..., 4] = value[..., 4].sigmoid()  # now (n, row, column, box, numbers)
        value[..., 5:] = value[..., 5:].softmax(-1)
        biases = torch.tensor(list(param.biases)).to(bottom).reshape(-1, 2)[: param.num]
        boxes = self._boxes(value, biases / side)
        truth, there = self._labels(label, n)
        slope = torch.zeros_like(value)
        score = value[..., 4]
        free = score * score * (1 - score) * param.noobject_scale
        slope[..., 4] = free.masked_fill(self._near(boxes, truth, there), 0)
        found = self._matches(boxes, truth.to(bottom), there, biases / side)
        self._train(slope, value, boxes, found, biases)
        loss = slope.square().sum()
        slope = slope.permute(0, 3, 4, 1, 2).reshape(bottom.shape)
        return (loss if self.intel else loss / n), slope / n

    def _boxes(self, value: Tensor, biases: Tensor) -> Tensor:
        """The predicted x, y, w, h as parts of the image, (n, row, column, box, 4)."""
        side = value.shape[1]
        cells = torch.arange(side).to(value)
        x = (value[..., 0].sigmoid() + cells[:, None]) / side
        y = (value[..., 1].sigmoid() + cells[:, None, None]) / side
        return torch.stack([x, y, *(value[..., 2:4].exp() * biases).unbind(-1)], -1)

    def _labels(self, label: Tensor, n: int) -> tuple[Tensor, Tensor]:
        """The boxes (n, t, 5) and which are there, (n, t); MobileNet-YOLO's where x is not 0."""
        if not self.intel:
            return grid.rows(label, 1, n)
        rows = label.reshape(-1, 8)
        rows = rows[rows[:, 0] != -1]
        item = rows[:, 0].long()
        if len(item) and (int(item.min()) < 0 or int(item.max()) >= n):
            raise self.error(f"a label is of item {int(item.max())}, but the batch has 0 to {n - 1}")
        size = rows[:, 5:7] - rows[:, 3:5]
        boxes = torch.cat([rows[:, 1:2] - 1, (rows[:, 3:5] + rows[:, 5:7]) / 2, size], 1)
        order = item.argsort(stable=True)
        counts = torch.bincount(item, minlength=n)
        rank = torch.arange(len(item), device=item.device) - (counts.cumsum(0) - counts)[item[order]]
        truth = label.new_zeros(n, int(counts.max()) if n else 0, 5)
        there = torch.zeros_like(truth[..., 0], dtype=torch.bool)
        truth[item[order], rank] = boxes[order]
        there[item[order], rank] = True
        return truth, there

    def _near(self, boxes: Tensor, truth: Tensor, there: Tensor) -> Tensor:
        """Which predictions overlap a box of their image by more than `thresh`: (n, row, column, box)."""
        best = torch.zeros_like(boxes[..., 0])
        for t in range(truth.shape[1]):
            shared = iou(boxes, truth[:, t, 1:].reshape(-1, 1, 1, 1, 4).to(boxes))
            best = torch.fmax(best, shared.masked_fill(~there[:, t].reshape(-1, 1, 1, 1), 0))
        return best > self.param.thresh

    def _matches(self, boxes: Tensor, truth: Tensor, there: Tensor, biases: Tensor) -> Matches:
        """Which prediction each box trains; `biases` (boxes, 2) are parts of the image."""
        side = boxes.shape[1]
        if not self.intel:  # here it is w that ends an image's boxes
            there = there & (truth[..., 3] != 0).long().cumprod(1).bool()
        item, t = there.nonzero(as_tuple=True)
        truth = truth[item, t]
        place = (truth[:, 1:3] * side).long().clamp(0, side - 1)
        sizes = biases.expand(len(truth), -1, 2)
        if not self.param.bias_match:
            sizes = boxes[item, place[:, 1], place[:, 0]][..., 2:]
        flat = torch.cat([torch.zeros_like(sizes), sizes], 2)
        wanted = torch.cat([torch.zeros_like(truth[:, 1:3]), truth[:, 3:]], 1)
        fit, anchor = iou(flat, wanted[:, None]).nan_to_num(0).max(1)
        anchor = torch.where(fit > 0, anchor, 0)
        # A box that fits none trains the very first prediction of the batch, as in the forks.
        cell = (item, place[:, 1], place[:, 0], anchor)
        item, row, column, box = (torch.where(fit > 0, index, 0) for index in cell)
        return Matches((item, row, column, box), anchor, place, truth)

    def _train(self, slope: Tensor, value: Tensor, boxes: Tensor, found: Matches, biases: Tensor) -> None:
        """Put the gradients of what trains on boxes into `slope`."""
        param, side = self.param, value.shape[1]
        number = torch.zeros_like(found.anchor)
        for index, length in zip(found.cell, value.shape[:4], strict=True):
            number = number * length + index
        last = grid.last_of_each(number, math.prod(value.shape[:4]))
        at = tuple(index[last] for index in found.cell)
        anchor, place, truth = found.anchor[last], found.place[last], found.truth[last]
        values = value[at]
        size = truth[:, 3:]
        middle = values[:, :2].sigmoid()
        off = torch.cat(
            [truth[:, 1:3] * side - place - middle, (size * side / biases[anchor]).log() - values[:, 2:4]], 1
        )
        scale = param.coord_scale * torch.ones_like(size[:, :1])
        if self.intel:
            off = off.clamp(-1, 1)
        elif not param.rescore:
            scale = scale * (2 - size.prod(1, keepdim=True))
        bend = torch.cat([middle * (1 - middle), torch.ones_like(size)], 1)
        score = values[:, 4]
        if self.intel:
            rise = 2 * (1 - score) ** 3
        else:
            # The box is the one of the cell of the label's middle, whose biases are the matched one's.
            own = torch.cat([(place + middle) / side, values[:, 2:4].exp() * biases[anchor] / side], 1)
            rise = (iou(own, truth[:, 1:]) if param.rescore else 1) - score
        label = truth[:, 0]
        if self.classes is not None:
            label = self.classes.to(label.device)[grid.class_of(self, label, len(self.classes))]
        label = grid.class_of(self, label, param.num_class)
        wanted = torch.nn.functional.one_hot(label, param.num_class).to(values)
        moved = [
            -scale * off * bend,
            -param.object_scale * (rise * score * (1 - score))[:, None],
            param.class_scale * (values[:, 5:] - wanted),
        ]
        slope[at] = torch.cat(moved, 1)
