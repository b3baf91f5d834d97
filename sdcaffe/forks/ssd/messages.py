"""SSD's messages: those that several layers' parameters hold, and those of its files (weiliu89/caffe@4817bf8)."""

from __future__ import annotations

import enum
from typing import Annotated

from sdcaffe import proto


class NonMaximumSuppressionParameter:
    nms_threshold: float = 0.3
    top_k: int
    eta: float = 1.0
    soft_nms: bool = False  # of deepdetect's Caffe (jolibrain/caffe), as is the next
    theta: float = 0.5


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


class SaltPepperParameter:
    fraction: float = 0.0
    value: list[float]


class NoiseParameter:
    prob: float = 0.0
    hist_eq: bool = False
    inverse: bool = False
    decolorize: bool = False
    gauss_blur: bool = False
    jpeg: float = -1.0
    posterize: bool = False
    erode: bool = False
    saltpepper: bool = False
    saltpepper_param: SaltPepperParameter
    clahe: bool = False
    convert_to_hsv: bool = False
    convert_to_lab: bool = False


class DistortionParameter:
    brightness_prob: float = 0.0
    brightness_delta: float = 0.0
    contrast_prob: float = 0.0
    contrast_lower: float = 0.0
    contrast_upper: float = 0.0
    hue_prob: float = 0.0
    hue_delta: float = 0.0
    saturation_prob: float = 0.0
    saturation_lower: float = 0.0
    saturation_upper: float = 0.0
    random_order_prob: float = 0.0


class ExpansionParameter:
    prob: float = 1.0
    max_expand_ratio: float = 1.0


class EmitConstraint:
    class EmitType(enum.IntEnum):
        CENTER = 0
        MIN_OVERLAP = 1

    emit_type: EmitType = EmitType.CENTER
    emit_overlap: float


class Transformations:
    """What SSD's Caffe adds to TransformationParameter; several resize_param are MobileNet-YOLO's."""

    resize_param: Annotated[list[ResizeParameter], 8]
    noise_param: Annotated[NoiseParameter, 9]
    emit_constraint: Annotated[EmitConstraint, 10]
    crop_h: Annotated[int, 11] = 0
    crop_w: Annotated[int, 12] = 0
    distort_param: Annotated[DistortionParameter, 13]
    expand_param: Annotated[ExpansionParameter, 14]


class Sampler:
    min_scale: float = 1.0
    max_scale: float = 1.0
    min_aspect_ratio: float = 1.0
    max_aspect_ratio: float = 1.0


class SampleConstraint:
    min_jaccard_overlap: float
    max_jaccard_overlap: float
    min_sample_coverage: float
    max_sample_coverage: float
    min_object_coverage: float
    max_object_coverage: float


class BatchSampler:
    use_original_image: bool = True
    sampler: Sampler
    sample_constraint: SampleConstraint
    max_sample: int
    max_trials: int = 100


class AnnotationType(enum.IntEnum):
    BBOX = 0


class NormalizedBBox:
    xmin: float
    ymin: float
    xmax: float
    ymax: float
    label: int
    difficult: bool
    score: float
    size: float


class Annotation:
    instance_id: int = 0
    bbox: NormalizedBBox


class AnnotationGroup:
    group_label: int
    annotation: list[Annotation]


class AnnotatedDatum:
    datum: proto.Datum
    type: AnnotationType
    annotation_group: list[AnnotationGroup]


class LabelMapItem:
    name: str
    label: int
    display_name: str


class LabelMap:
    item: list[LabelMapItem]


proto.schema.extend("TransformationParameter", Transformations)
proto.schema.add(AnnotatedDatum)
proto.schema.add(LabelMap)
