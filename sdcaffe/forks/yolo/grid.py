"""What YOLO's losses share: their labels, which cell and anchor each box is for, and the loss of given gradients.

Holds no layer type.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from sdcaffe.errors import DataError
from sdcaffe.layers.base import Layer, Shape, show_shape

BOXES = 300  # rows of class, x, y, w, h that a label has for each image


class GivenGradient(torch.autograd.Function):
    """A loss whose gradient is no derivative of it: `loss` forward, `slope` times what comes back backward."""

    @staticmethod
    def forward(ctx: Any, bottom: Tensor, loss: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(slope)
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return grad * slope, None, None


def check_label(layer: Layer, bottom: Shape, label: Shape) -> None:
    """Raises LayerError unless a label has 300 boxes of five numbers for each item of `bottom`."""
    if not label or label[0] != bottom[0] or math.prod(label[1:]) != BOXES * 5:
        raise layer.error(
            f"needs labels of {BOXES} rows (class, x, y, w, h) for each of {bottom[0]} images, not {show_shape(label)}"
        )


def check_maps(layer: Layer, bottom: Shape, anchors: int, numbers: int) -> None:
    """Raises LayerError unless `bottom` has maps of `numbers` for each anchor."""
    if len(bottom) != 4 or bottom[1] != anchors * numbers:
        raise layer.error(
            f"needs a bottom (n, {anchors * numbers}, h, w), {numbers} for each of {anchors} boxes, "
            f"not {show_shape(bottom)}"
        )


def rows(label: Tensor, until: int, n: int) -> tuple[Tensor, Tensor]:
    """The labels (n, t, 5), as many as the image with most has, and which are there, (n, t).

    An image's end where the number `until` of a row is 0.
    """
    boxes = label.detach().reshape(n, BOXES, 5)
    there = (boxes[:, :, until] != 0).long().cumprod(1).bool()
    most = int(there.sum(1).max()) if n else 0
    return boxes[:, :most], there[:, :most]


def class_of(layer: Layer, label: Tensor, classes: int) -> Tensor:
    """Class labels as indices. Raises DataError for one out of range."""
    index = label.long()
    bad = (index < 0) | (index >= classes)
    if bad.any():
        raise DataError(
            f'layer "{layer.name}" ({layer.type}): label {int(index[bad][0])} is out of range: '
            f"there are {classes} classes, so labels go from 0 to {classes - 1}"
        )
    return index


def last_of_each(cell: Tensor, cells: int) -> Tensor:
    """Which of the entries in `cell` (m), numbers below `cells`, no later one repeats: (m), bool."""
    order = torch.arange(len(cell), device=cell.device)
    last = order.new_full((cells,), -1).scatter_reduce_(0, cell, order, "amax")
    return last[cell] == order


def first_of_each(cell: Tensor, cells: int) -> Tensor:
    """Which of the entries in `cell` (m), numbers below `cells`, no earlier one has: (m), bool."""
    order = torch.arange(len(cell), device=cell.device)
    first = order.new_full((cells,), len(cell)).scatter_reduce_(0, cell, order, "amin")
    return first[cell] == order
