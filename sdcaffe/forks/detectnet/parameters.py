"""DetectNetTransformation's two messages."""

from __future__ import annotations

import enum
from typing import Annotated

from sdcaffe import proto


class DetectNetGroundTruthParameter:
    class GridboxType(enum.IntEnum):
        GRIDBOX_MAX = 0
        GRIDBOX_MIN = 1

    class CoverageType(enum.IntEnum):
        RECTANGULAR = 0

    class ClassMapping:
        src: int
        dst: int

    stride: int = 4
    scale_cvg: float = 0.5
    gridbox_type: GridboxType = GridboxType.GRIDBOX_MAX
    max_cvg_len: int = 50
    min_cvg_len: int = 50
    coverage_type: Annotated[CoverageType, 7] = CoverageType.RECTANGULAR
    image_size_x: int = 1248
    image_size_y: int = 384
    obj_norm: Annotated[bool, 11] = False
    crop_bboxes: bool = True
    object_class: list[ClassMapping]


class DetectNetAugmentationParameter:
    crop_prob: float = 1.0
    shift_x: int = 0
    shift_y: int = 0
    scale_prob: float = 0.33
    scale_min: float = 0.7
    scale_max: float = 1.0
    flip_prob: float = 0.33
    rotation_prob: float = 0.33
    max_rotate_degree: float = 1.0
    hue_rotation_prob: float = 0.33
    hue_rotation: float = 15.0
    desaturation_prob: float = 0.33
    desaturation_max: float = 0.5


proto.schema.declare("detectnet_augmentation_param", 6802, DetectNetAugmentationParameter)
