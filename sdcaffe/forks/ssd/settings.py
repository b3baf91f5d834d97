"""What SSD's transform_param may say: ranges at which its Caffe stops, and sizes that no memory holds."""

from __future__ import annotations

import math

from sdcaffe import proto
from sdcaffe.data.decode import too_large


def check(param: proto.TransformationParameter) -> None:
    """Raises ValueError for what a TransformationParameter says of distortion, size, noise and crop that cannot be."""
    if len(param.resize_param) > 1:
        raise ValueError("several resize_param are AnnotatedData's alone")
    for resize in param.resize_param:
        if not (resize.height and resize.width):
            raise ValueError("resize_param needs a height and a width above 0")
        check_size("resize_param's size", resize.height, resize.width)
    crop = (param.crop_size,) * 2 if param.crop_size else (param.crop_h, param.crop_w)
    if any(crop) and not all(crop):
        raise ValueError("give both crop_h and crop_w, or crop_size")
    if param.HasField("expand_param"):
        if not 1 < param.expand_param.max_expand_ratio < math.inf:
            raise ValueError(
                f"expand_param's max_expand_ratio must be above 1, not {param.expand_param.max_expand_ratio:g}"
            )
        if param.HasField("mean_file"):
            raise ValueError("expand_param fills with mean_value; it cannot be used with mean_file")
    _check_distortion(param.distort_param)
    _check_noise(param.noise_param)


def check_size(what: str, height: int, width: int) -> None:
    """Raises ValueError for a picture that is too large."""
    if words := too_large(height, width):
        raise ValueError(f"{what} would be {words}")


def _check_distortion(param: proto.DistortionParameter) -> None:
    """Of changes that may happen: the fork looks when one happens."""
    for name in ("brightness", "hue"):
        delta = getattr(param, f"{name}_delta")
        if getattr(param, f"{name}_prob") > 0 and not 0 <= delta < math.inf:
            raise ValueError(f"distort_param's {name}_delta must be 0 or more, not {delta:g}")
    for name in ("contrast", "saturation"):
        lower, upper = getattr(param, f"{name}_lower"), getattr(param, f"{name}_upper")
        if getattr(param, f"{name}_prob") > 0 and not 0 <= lower <= upper < math.inf:
            raise ValueError(
                f"distort_param's {name}_lower {lower:g} and {name}_upper {upper:g} must be 0 or more, the first no "
                "larger"
            )


def _check_noise(param: proto.NoiseParameter) -> None:
    if param.convert_to_lab:
        raise ValueError("noise_param's convert_to_lab is not done: SSD's Caffe takes its numbers for bytes")
    if not param.saltpepper:
        return
    salt = param.saltpepper_param
    if not math.isfinite(salt.fraction):
        raise ValueError(f"saltpepper_param's fraction must be a number, not {salt.fraction:g}")
    if salt.fraction > 0 and not salt.value:
        raise ValueError("saltpepper_param needs a value, or one for each channel")
    if not all(0 <= value < 256 for value in salt.value):
        raise ValueError(f"saltpepper_param's values must be from 0 to 255, not {list(salt.value)}")
