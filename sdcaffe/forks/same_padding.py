"""Padding of four sides, as Synopsys' Caffe has it for Convolution, Deconvolution and Pooling. Holds no layer type.

From foss-for-synopsys-dwc-arc-processors/synopsys-caffe@977ba36.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from sdcaffe import proto
from sdcaffe.layers.base import Layer
from sdcaffe.layers.places import Places

Pair = tuple[int, int]
Padded: TypeAlias = "proto.ConvolutionParameter | proto.PoolingParameter"

SIDES = ("pad_t", "pad_b", "pad_l", "pad_r")


def is_sided(param: Padded) -> bool:
    """Whether a message of pads has one of the fork's fields, be it with 0."""
    return any(param.HasField(field) for field in (*SIDES, "pad_type"))


def sided(layer: Layer) -> tuple[Pair, Pair] | None:
    """The padding before and behind the image, in height and width each; None where all four sides are 0.

    Raises LayerError where there is other padding besides.
    """
    param = layer.param
    top, bottom, left, right = (getattr(param, field) for field in SIDES)
    if not any((top, bottom, left, right)):
        return None
    _alone(layer, "pad_l, pad_r, pad_t and pad_b", ("pad_type",))
    return (top, left), (bottom, right)


def check_same(layer: Layer) -> None:
    """Raise LayerError for a pad_type that is not TensorFlow's SAME, and for other padding besides."""
    if layer.param.pad_type != 1:
        raise layer.error(f'pad_type is 0, or 1 for "SAME", not {layer.param.pad_type}', "pad_type")
    _alone(layer, "pad_type", SIDES)


def _alone(layer: Layer, what: str, others: tuple[str, ...]) -> None:
    for field in ("pad", "pad_h", "pad_w", *others):
        if getattr(layer.param, field):
            raise layer.error(f"give {field} or {what}, not both", field)


def same(sizes: Sequence[int], kernel: Sequence[int], stride: Sequence[int]) -> tuple[Pair, Pair]:
    """The padding of TensorFlow's SAME, before and behind, in height and width each.

    In all kernel - (stride, or what is left over of the size) zeros or none; the smaller half is before the image.
    """
    totals = [max(k - (n % s or s), 0) for n, k, s in zip(sizes, kernel, stride, strict=True)]
    before = [total // 2 for total in totals]
    return (before[0], before[1]), (totals[0] - before[0], totals[1] - before[1])


def settings(param: Padded) -> list[str]:
    """What a drawing says of the padding."""
    if param.pad_type:
        return ["pad same"]
    sides = [getattr(param, field) for field in SIDES]
    return [f"pad {'/'.join(map(str, sides))}"] if any(sides) else []


def before(param: Padded) -> Places | None:
    """How far the padding of four sides moves a blob's places, as a shift; None for SAME, which the image decides."""
    if param.pad_type:
        return None
    return Places(shift=np.array([param.pad_t, param.pad_l], np.float64))
