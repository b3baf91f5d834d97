"""What distort_param does to a picture: other brightness, contrast, saturation, hue, order of channels, by chance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sdcaffe import proto
from sdcaffe.forks.ssd import colours
from sdcaffe.forks.ssd.dice import Dice

Image = NDArray[np.uint8]


def distorted(image: Image, param: proto.DistortionParameter, dice: Dice) -> Image:
    """(3, H, W) bytes changed as a DistortionParameter says, in the order of weiliu89/caffe@4817bf8.

    Contrast comes second or, as often, last before the channels. Each change happens with its own
    probability and by an amount drawn from its range.
    """
    early = dice.uniform(0, 1) > 0.5
    image = _brighter(image, param, dice)
    if early:
        image = _contrasted(image, param, dice)
    image = _saturated(image, param, dice)
    image = _other_hue(image, param, dice)
    if not early:
        image = _contrasted(image, param, dice)
    if dice.happens(param.random_order_prob):
        image = image[list(dice.shuffled(3))]
    return image


def _brighter(image: Image, param: proto.DistortionParameter, dice: Dice) -> Image:
    if not dice.happens(param.brightness_prob):
        return image
    return colours.scaled(image, 1, dice.uniform(-param.brightness_delta, param.brightness_delta))


def _contrasted(image: Image, param: proto.DistortionParameter, dice: Dice) -> Image:
    if not dice.happens(param.contrast_prob):
        return image
    factor = dice.uniform(param.contrast_lower, param.contrast_upper)
    return colours.scaled(image, factor, 0) if abs(factor - 1) > 1e-3 else image


def _saturated(image: Image, param: proto.DistortionParameter, dice: Dice) -> Image:
    if not dice.happens(param.saturation_prob):
        return image
    hue, saturation, value = colours.to_hsv(image)
    factor = dice.uniform(param.saturation_lower, param.saturation_upper)
    return colours.from_hsv(np.stack([hue, colours.scaled(saturation, factor, 0), value]))


def _other_hue(image: Image, param: proto.DistortionParameter, dice: Dice) -> Image:
    if not dice.happens(param.hue_prob):
        return image
    hue, saturation, value = colours.to_hsv(image)
    delta = dice.uniform(-param.hue_delta, param.hue_delta)
    return colours.from_hsv(np.stack([colours.scaled(hue, 1, delta), saturation, value]))
