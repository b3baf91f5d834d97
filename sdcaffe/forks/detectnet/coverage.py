"""Boxes through an augmentation, and laid over a grid: what DetectNet learns. Numbers of the labels' own precision."""

from __future__ import annotations

from typing import Any

import numpy as np

from sdcaffe import proto
from sdcaffe.forks.detectnet.augmentation import Augmentation, Floats, Size, rotation_matrix
from sdcaffe.forks.detectnet.parameters import DetectNetGroundTruthParameter

FACTS = 8  # channels before those of classes
_LEAST = float(np.finfo(np.float32).eps)  # of an area that counts
_SHRINKS_AT_LEAST = DetectNetGroundTruthParameter.GridboxType.GRIDBOX_MIN


def moved(boxes: Floats, picture: Size, how: Augmentation) -> Floats:
    """Boxes (m, 4), x, y, width and height in pixels of a picture, where they stand in what is cut of it.

    A rotated box keeps its width and height about the place that its middle moves to.
    """
    found = boxes.copy()
    if how.flip:
        found[:, 0] = picture[1] - found[:, 0] - found[:, 2] - 1
    if how.scaled != picture:
        scale = np.array(how.scaled[::-1], boxes.dtype) / np.array(picture[::-1], boxes.dtype)
        found *= np.tile(scale, 2)
    if how.rotates:
        matrix = rotation_matrix(how.scaled, how.rotation).astype(boxes.dtype)
        half = found[:, 2:] / 2
        middle = found[:, :2] + half
        found[:, :2] = middle @ matrix[:, :2].T + matrix[:, 2] - half
    found[:, :2] -= np.array(how.offset[::-1], boxes.dtype)
    return found


class Grid:
    """The grid of detectnet_groundtruth_param: `channels` numbers for each of its cells."""

    def __init__(self, param: proto.DetectNetGroundTruthParameter) -> None:
        self.param = param
        inverse = np.float32(1 / param.stride)
        self.height, self.width = (
            int(np.rint(np.float32(side) * inverse)) for side in (param.image_size_y, param.image_size_x)
        )
        self._places = {one.src: one.dst for one in param.object_class} or {1: 0}
        self.channels = FACTS + 1 + max(self._places.values())

    def filled(self, boxes: Floats, classes: Floats) -> Floats:
        """The grid of boxes (m, 4) of so many classes (m): (channels, height, width). A later box wins a cell.

        Where a box covers a cell: 1; x and y of its first and its last corner, from the cell's first corner; 1 over
        width and height; how many times its covering part would go into a cell; and 1 for its class.
        """
        grid = np.zeros((self.channels, self.height, self.width), boxes.dtype)
        stride = self.param.stride
        if self.param.crop_bboxes:
            boxes = self._inside(boxes)
        x, y = (stride * np.arange(n, dtype=boxes.dtype) for n in (self.width, self.height))
        for box, kind in zip(boxes, classes.tolist(), strict=True):
            place = self._places.get(int(kind)) if np.isfinite(kind) else None
            if place is None or box[2] * box[3] < _LEAST:
                continue
            first, size = self._covering(box)
            share = np.outer(_overlap(first[1], size[1], y, stride), _overlap(first[0], size[0], x, stride))
            cells = share / stride**2 > _LEAST
            grid[FACTS:, cells] = 0
            grid[FACTS + place, cells] = 1
            ends = (box[0] - x, box[1] - y[:, None], box[0] + box[2] - x, box[1] + box[3] - y[:, None])
            for channel, value in enumerate((1, *ends, 1 / box[2], 1 / box[3], self._norm(size))):
                grid[channel, cells] = np.broadcast_to(value, cells.shape)[cells]
        return grid

    def _inside(self, boxes: Floats) -> Floats:
        """Boxes cut to the picture; of no size where they lie off it."""
        size = np.array([self.param.image_size_x, self.param.image_size_y], boxes.dtype)
        first = np.maximum(boxes[:, :2], 0)
        sides = np.minimum(boxes[:, :2] + boxes[:, 2:], size) - first
        return np.concatenate([first, sides], 1) * (sides > 0).all(1, keepdims=True)

    def _covering(self, box: Floats) -> tuple[Floats, Floats]:
        """x and y, width and height of the part about the middle of a box that covers cells."""
        param, size = self.param, box[2:]
        shrunk = size * param.scale_cvg
        if param.gridbox_type == _SHRINKS_AT_LEAST:
            shrunk = np.minimum(size, np.maximum(shrunk, param.min_cvg_len))
        else:
            shrunk = np.minimum(shrunk, param.max_cvg_len)
        middle = box[:2] + size / 2
        first, last = middle - shrunk / 2, middle + shrunk / 2
        return np.minimum(first, last), np.abs(last - first)

    def _norm(self, size: Floats) -> float:
        area = float(size[0] * size[1])
        share = self.param.stride**2 / area if area else 0.0
        return share if self.param.obj_norm else max(share, 1.0)


def _overlap(first: Any, length: Any, cells: Floats, stride: int) -> Floats:
    """How much of each cell lies between `first` and `length` further on."""
    return np.maximum(np.minimum(first + length, cells + stride) - np.maximum(first, cells), 0)
