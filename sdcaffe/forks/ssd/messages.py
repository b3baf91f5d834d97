"""Messages of SSD that several of its layers' parameters hold (weiliu89/caffe@4817bf8)."""

from __future__ import annotations

import enum


class NonMaximumSuppressionParameter:
    nms_threshold: float = 0.3
    top_k: int
    eta: float = 1.0


class ResizeParameter:
    class Resize_mode(enum.IntEnum):
        WARP = 1
        FIT_SMALL_SIZE = 2
        FIT_LARGE_SIZE_AND_PAD = 3

    class Pad_mode(enum.IntEnum):
        CONSTANT = 1
        MIRRORED = 2
        REPEAT_NEAREST = 3

    class Interp_mode(enum.IntEnum):
        LINEAR = 1
        AREA = 2
        NEAREST = 3
        CUBIC = 4
        LANCZOS4 = 5

    prob: float = 1.0
    resize_mode: Resize_mode = Resize_mode.WARP
    height: int = 0
    width: int = 0
    pad_mode: Pad_mode = Pad_mode.CONSTANT
    pad_value: list[float]
    interp_mode: list[Interp_mode]
    height_scale: int = 0
    width_scale: int = 0
