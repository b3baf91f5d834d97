"""Yolov3: the loss of YOLO version 3 for one grid, with MobileNet-YOLO's ways to count a box."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.forks.yolo import grid
from sdcaffe.forks.yolo.overlap import IouLoss, overlap, slopes
from sdcaffe.layers.base import Shape, register
from sdcaffe.layers.loss import LossLayer


class Yolov3Parameter:
    side: int = 13
    num_class: int = 20
    num: int = 5
    object_scale: float = 1.0
    class_scale: float = 1.0
    noobject_scale: float = 0.5
    coord_scale: float = 5.0
    thresh: float = 0.2
    anchors_scale: Annotated[int, 10] = 32
    biases: list[float]
    mask: list[int]
    use_logic_gradient: bool = False
    use_focal_loss: bool = False
    iou_loss: IouLoss = IouLoss.MSE
    iou_normalizer: float = 0.25
    iou_thresh: float = 0.5
    max_delta: float = 10.0
    accumulate: bool = True
    label_smooth_eps: float = 0.1


class Matches(NamedTuple):
    """Boxes and the predictions that are trained on them, (m) each, in the fork's order: later ones count."""

    item: Tensor
    anchor: Tensor
    row: Tensor
    column: Tensor
    truth: Tensor  # (m, 5): class, x, y, w, h


@register("Yolov3", field="yolov3_param", number=603)
class Yolov3(LossLayer):
    """What the predictions (n, num * (5 + num_class), h, w) cost, for labels of 300 rows (class, x, y, w, h) an image.

    As in MobileNet-YOLO (eric612/MobileNet-YOLO@69b4441). Each of num anchors, those of `mask` among the `biases`
    (width and height in pixels of an image anchors_scale times the map), has x, y, w, h, the object's score and the
    classes' scores; all but w and h go through a sigmoid. An image's labels end where x, or w, is 0. A box trains the
    anchor that fits it best, if the mask has it, and those that overlap it by more than iou_thresh. Others learn that
    there is no object, unless they overlap a box by more than `thresh`.

    The loss is the sum of the squares of the gradients over n; with an iou_loss other than MSE those of the boxes are
    the slopes of that measure, times iou_normalizer, at most max_delta, added up unless accumulate is false, and the
    loss has 1 less the mean measure of the boxes in their place. As in the fork object_scale counts with
    use_logic_gradient alone, noobject_scale nowhere. The labels get no gradient.
    """

    param: proto.Yolov3Parameter
    Param = Yolov3Parameter
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        bottom, label = bottom_shapes
        param = self.param
        if param.num < 1 or len(param.mask) < param.num:
            raise self.error(f"mask must name num (={param.num}) anchors; it has {len(param.mask)}", "mask")
        if len(param.biases) % 2 or not param.biases or min(param.biases) <= 0:
            raise self.error("biases are pairs of a width and a height above 0", "biases")
        anchors = len(param.biases) // 2
        self.mask = list(param.mask)[: param.num]
        if max(self.mask) >= anchors:
            raise self.error(f"mask names anchor {max(self.mask)}, but biases have {anchors}, from 0", "mask")
        if param.anchors_scale < 1:
            raise self.error("anchors_scale must be at least 1", "anchors_scale")
        grid.check_maps(self, bottom, param.num, 5 + param.num_class)
        grid.check_label(self, bottom, label)
        return [()]

    def forward(self, bottom: Tensor, label: Tensor) -> Tensor:
        with torch.no_grad():
            loss, slope = self._found(bottom.detach(), label)
        result: Tensor = grid.GivenGradient.apply(bottom, loss, slope)
        return result

    def _found(self, bottom: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """The loss and the gradient of the bottom."""
        n, _, h, w = bottom.shape
        param, num = self.param, self.param.num
        raw = bottom.reshape(n, num, -1, h, w).permute(0, 1, 3, 4, 2)  # (n, anchors, h, w, numbers)
        value = raw.sigmoid()
        value[..., 2:4] = raw[..., 2:4]
        biases = torch.tensor(list(param.biases)).to(bottom).reshape(-1, 2)
        size = torch.tensor([w * param.anchors_scale, h * param.anchors_scale]).to(bottom)
        boxes = self._boxes(value, biases[self.mask] / size)
        slope = torch.zeros_like(value)
        slope[..., 4] = value[..., 4].masked_fill(self._near(boxes, label), 0)
        found = self._matches(label, biases / size, (h, w))
        measures = self._train(slope, value, boxes, found, biases[self.mask], size)
        squares = slope.square()
        loss = squares.sum()
        if param.iou_loss != IouLoss.MSE:
            loss = squares[..., 4:].sum()
            if len(measures):
                loss = loss + param.iou_normalizer * (1 - measures).mean()
        if param.use_logic_gradient:
            if param.iou_loss != IouLoss.MSE:  # as in the fork, whose x and y are then as they came
                value = torch.cat([raw[..., :4], value[..., 4:]], -1)
            bend = value * (1 - value)
            bend[..., 2:4] = 1
            slope = slope * bend
        return loss / n, slope.permute(0, 1, 4, 2, 3).reshape(bottom.shape) / n

    def _boxes(self, value: Tensor, biases: Tensor) -> Tensor:
        """The predicted x, y, w, h as parts of the image, (n, anchors, h, w, 4)."""
        h, w = value.shape[2:4]
        x = (value[..., 0] + torch.arange(w).to(value)) / w
        y = (value[..., 1] + torch.arange(h).to(value)[:, None]) / h
        size = value[..., 2:4].exp() * biases[:, None, None]
        return torch.stack([x, y, *size.unbind(-1)], -1)

    def _near(self, boxes: Tensor, label: Tensor) -> Tensor:
        """Which predictions overlap a box of their image by more than `thresh`: (n, anchors, h, w)."""
        truth, there = grid.rows(label, 1, len(boxes))
        best = torch.zeros_like(boxes[..., 0])
        for t in range(truth.shape[1]):
            measure = overlap(boxes, truth[:, t, 1:].reshape(-1, 1, 1, 1, 4).to(boxes), self.param.iou_loss)
            measure = measure.masked_fill(~there[:, t].reshape(-1, 1, 1, 1), 0)
            best = torch.fmax(best, measure)
        return best > self.param.thresh

    def _matches(self, label: Tensor, biases: Tensor, size: tuple[int, int]) -> Matches:
        """Which anchors each box trains; `biases` (anchors, 2) are parts of the image."""
        truth, there = grid.rows(label, 3, label.shape[0])
        item, t = there.nonzero(as_tuple=True)
        truth = truth[item, t].to(biases)
        shapes = torch.cat([torch.zeros_like(truth[:, :2]), truth[:, 3:]], 1)
        anchors = torch.cat([torch.zeros_like(biases), biases], 1)
        fit = overlap(anchors, shapes[:, None], self.param.iou_loss)  # (boxes, anchors)
        best, index = fit.nan_to_num(0).max(1)
        place = torch.full((len(biases),), -1, device=biases.device)
        for i, anchor in reversed(list(enumerate(self.mask))):
            place[anchor] = i
        own = torch.where(best > 0, place[index], -1)
        # The fork compares the other anchors' numbers with the best one's place in the mask.
        apart = torch.where(own >= 0, own, torch.where(best > 0, index, -1))
        others = (fit > self.param.iou_thresh) & (torch.arange(len(biases), device=fit.device) != apart[:, None])
        if not self.param.iou_thresh < 1:
            others = torch.zeros_like(others)
        chosen = torch.cat([own[:, None], torch.where(others, place, -1)], 1)
        which, column = (chosen >= 0).nonzero(as_tuple=True)
        truth = truth[which]
        h, w = size
        x, y = (truth[:, 1] * w).long().clamp(0, w - 1), (truth[:, 2] * h).long().clamp(0, h - 1)
        return Matches(item[which], chosen[which, column], y, x, truth)

    def _train(
        self, slope: Tensor, value: Tensor, boxes: Tensor, found: Matches, biases: Tensor, size: Tensor
    ) -> Tensor:
        """Put the gradients of what trains on boxes into `slope`; returns how much these overlap."""
        param = self.param
        at = (found.item, found.anchor, found.row, found.column)
        cell = torch.zeros_like(found.item)
        for index, length in zip(at, value.shape[:4], strict=True):
            cell = cell * length + index
        cells = value[..., 0].numel()
        last = grid.last_of_each(cell, cells)
        slope[..., 4][at] = (value[at][:, 4] - 1) * (param.object_scale if param.use_logic_gradient else 1)
        self._train_classes(slope, value, at, grid.first_of_each(cell, cells), found.truth[:, 0])
        h, w = value.shape[2:4]
        truth = found.truth[:, 1:]
        if param.iou_loss == IouLoss.MSE:
            middle = truth[:, :2] * torch.tensor([w, h]).to(truth) - torch.stack([found.column, found.row], 1)
            target = torch.cat([middle, (truth[:, 2:] * size / biases[found.anchor]).log()], 1)
            scale = param.coord_scale * (2 - truth[:, 2] * truth[:, 3])
            moved = scale[:, None] * (value[at][:, :4] - target)
            slope[..., :4][tuple(i[last] for i in at)] = moved[last]
            return truth[:0, 0]
        found_slopes = slopes(boxes[at], truth, param.iou_loss)
        found_slopes[:, 2:] *= value[at][:, 2:4].exp()
        moved = -(found_slopes * param.iou_normalizer).nan_to_num(0, 0, 0).clamp(-param.max_delta, param.max_delta)
        if param.accumulate:
            slope[..., :4].index_put_(at, moved, accumulate=True)
        else:
            slope[..., :4][tuple(i[last] for i in at)] = moved[last]
        kind = param.iou_loss if param.iou_loss in (IouLoss.GIOU, IouLoss.CIOU) else IouLoss.DIOU
        return overlap(boxes[at], truth, kind)

    def _train_classes(
        self, slope: Tensor, value: Tensor, at: tuple[Tensor, ...], first: Tensor, label: Tensor
    ) -> None:
        """The first box of a prediction sets all its classes, each later one its own class alone."""
        param = self.param
        index = grid.class_of(self, label, param.num_class)
        eps = param.label_smooth_eps
        scores = value[at][:, 5:]
        wanted = torch.nn.functional.one_hot(index, param.num_class).to(scores)
        smooth = wanted * (1 - eps) + 0.5 * eps
        if param.use_focal_loss:
            own = scores.gather(1, index[:, None]) + 1e-15
            steep = -(1 - own) * (2 * own * own.log() + own - 1)
            moved = param.class_scale * (scores - wanted) * 0.5 * steep
        else:
            moved = param.class_scale * (scores - smooth)
        slope[..., 5:][tuple(i[first] for i in at)] = moved[first]
        alone = param.class_scale * (scores - smooth).gather(1, index[:, None])[:, 0]
        later = [i[~first] for i in at]
        slope[..., 5:].index_put_((*later, index[~first]), alone[~first])
