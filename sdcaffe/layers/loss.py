"""What the loss layers share: class labels, their checks, and Caffe's normalisation. Registers no layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.errors import DataError
from sdcaffe.layers.base import Count, Layer, Shape, show_shape

# Of modes that a fork's LossParameter has besides Caffe's: the mode's number -> what the sum is divided by.
normalizers: dict[int, Callable[[proto.LossParameter], float]] = {}

FLOAT32_MIN = torch.finfo(torch.float32).tiny  # C's FLT_MIN, the least probability SoftmaxWithLoss takes the log of
LOG_THRESHOLD = 1e-20  # the same of InfogainLoss and MultinomialLogisticLoss


class LossLayer(Layer):
    """Predictions and targets in, one number out; the targets get no gradient."""

    bottoms: ClassVar[Count] = 2
    loss = True
    index_bottoms: ClassVar[tuple[int, ...]] = (1,)

    def check_same_number(self, bottom_shapes: Sequence[Shape]) -> None:
        """Raises LayerError unless predictions and targets have the same first axis."""
        prediction, target = bottom_shapes[:2]
        if not prediction or not target or prediction[0] != target[0]:
            raise self.error(
                f"predictions {show_shape(prediction)} and targets {show_shape(target)} "
                "must have the same first dimension"
            )

    def check_one_label_each(self, bottom_shapes: Sequence[Shape]) -> None:
        """Raises LayerError unless there is one label for each item of the first axis."""
        self.check_same_number(bottom_shapes)
        prediction, label = bottom_shapes[:2]
        if math.prod(label) != prediction[0]:
            raise self.error(f"needs {prediction[0]} labels, one an item, not a blob of shape {show_shape(label)}")


@dataclass(frozen=True)
class Labels:
    """Class labels made safe to index with.

    `index` is int64 and in range everywhere. `kept` is False where the label is the ignored one (None: none
    is ignored). `bad` is True where a label is out of range; it is None where that has been ruled out.
    """

    index: Tensor
    kept: Tensor | None
    bad: Tensor | None

    def mark(self, result: Tensor) -> Tensor:
        """`result`, or NaN if a label was out of range: the run then stops and names this layer."""
        return result if self.bad is None else result.masked_fill(self.bad.any(), math.nan)


def class_labels(layer: Layer, label: Tensor, classes: int, ignore: int | None = None) -> Labels:
    """Labels 0 to `classes` - 1, cut towards zero from whatever number type they come in, as Caffe casts.

    Raises DataError for a label out of range on the CPU. On other devices asking would wait for the
    device, so there `Labels.bad` is set instead.
    """
    index = label.detach().long()
    kept = None if ignore is None else index != ignore
    safe = index.clamp(0, classes - 1)
    bad = safe != index
    if kept is not None:
        bad &= kept
    if index.device.type != "cpu":
        return Labels(safe, kept, bad)
    if bad.any():
        value = label[bad][0].item()
        raise DataError(
            f'layer "{layer.name}" ({layer.type}): label {value:g} is out of range: '
            f"there are {classes} classes, so labels go from 0 to {classes - 1}"
            + ("" if ignore is None else f" (and {ignore} is ignored)")
        )
    return Labels(safe, kept, None)


def outer_inner(shape: Shape, axis: int) -> tuple[int, int]:
    """How many values stand before `axis`, and how many after it."""
    return math.prod(shape[:axis]), math.prod(shape[axis + 1 :])


def check_label_count(layer: Layer, shape: Shape, label_shape: Shape, axis: int) -> None:
    """Raises LayerError unless there is one label for each prediction along `axis`."""
    outer, inner = outer_inner(shape, axis)
    if outer * inner != math.prod(label_shape):
        raise layer.error(
            f"predictions of shape {show_shape(shape)} with classes on axis {axis} need {outer * inner} labels, "
            f"not {math.prod(label_shape)} as in a blob of shape {show_shape(label_shape)}"
        )


def ignored_label(loss_param: proto.LossParameter | proto.AccuracyParameter) -> int | None:
    """The `ignore_label` of a LossParameter or an AccuracyParameter, if it has one."""
    return loss_param.ignore_label if loss_param.HasField("ignore_label") else None


def normalization(loss_param: proto.LossParameter, default: int) -> int:
    """The NormalizationMode in force: `normalization`, else the older `normalize`, else `default`."""
    if loss_param.HasField("normalization"):
        return loss_param.normalization
    if loss_param.HasField("normalize"):
        return loss_param.VALID if loss_param.normalize else loss_param.BATCH_SIZE
    return default


def normalized(
    total: Tensor, loss_param: proto.LossParameter, mode: int, outer: int, inner: int, kept: Tensor | None
) -> Tensor:
    """`total` divided by Caffe's normaliser, which is at least 1.

    FULL divides by all places (outer * inner), VALID by those not ignored, BATCH_SIZE by outer, NONE by 1; a mode of
    a fork by what `normalizers` says.
    """
    if mode in normalizers:
        return total / max(normalizers[mode](loss_param), 1)
    if mode == loss_param.VALID and kept is not None:
        return total / kept.sum().clamp(min=1)
    places = {loss_param.BATCH_SIZE: outer, loss_param.NONE: 1}.get(mode, outer * inner)
    return total / max(places, 1)
