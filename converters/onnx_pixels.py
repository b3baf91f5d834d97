"""How the bytes of a picture become a net's input: said by a user, recorded, combined. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sdcaffe import reading
from sdcaffe.converters.mean_files import read_mean
from sdcaffe.converters.onnx_metadata import ModelError, Normalisation
from sdcaffe.errors import SdcaffeError

Floats = NDArray[np.float32]

_LARGEST_MEAN = 1 << 28  # bytes of a mean file


@dataclass
class Preprocess:
    """What is done to an image of bytes 0 to 255: (pixel - mean) * scale.

    `mean` is (1 or c, 1, 1) or a mean image (c, h, w), `scale` is (1 or c, 1, 1); both in the channel order of the
    net. `order` is "bgr" where the net takes blue first; the image is RGB.
    """

    mean: Floats
    scale: Floats
    order: str = "rgb"

    def normalisation(self, *, in_graph: bool = False) -> Normalisation:
        """As metadata: of a mean image each channel's mean, as Caffe's classification example takes it."""
        means = [float(x) for x in self.mean.mean((1, 2))]
        return Normalisation(means, [float(x) for x in self.scale.ravel()], self.order, in_graph)

    def fitted(self, name: str, shape: Sequence[int]) -> Preprocess:
        """For the input `name` of a net; a mean image is cropped as Caffe does. Raises ModelError where it is none."""
        if len(shape) != 4 or shape[1] not in (1, 3):
            raise ModelError(f'--preprocess is for images of 1 or 3 channels; input "{name}" has shape {tuple(shape)}')
        for what, values in (("mean", self.mean), ("std and scale", self.scale)):
            if len(values) not in (1, shape[1]):
                raise ModelError(f'{len(values)} numbers of {what} for the {shape[1]} channels of input "{name}"')
        mean = self.mean
        if mean.shape[1:] != (1, 1):
            h, w = shape[2:]
            if mean.shape[1] < h or mean.shape[2] < w:
                raise ModelError(f"the mean image is {mean.shape[1]} x {mean.shape[2]}, the input larger: {h} x {w}")
            top, left = (mean.shape[1] - h) // 2, (mean.shape[2] - w) // 2
            mean = mean[:, top : top + h, left : left + w]
        return Preprocess(np.ascontiguousarray(mean), self.scale, self.order)


@dataclass
class Pixels:
    """What the user says of the net's input: (pixel - mean) * scale / std. None: as it is recorded.

    `mean` is numbers, one or one a channel, or a mean image's file (.binaryproto or .npy).
    """

    mean: str | Sequence[float] | None = None
    std: Sequence[float] | None = None
    scale: float | None = None
    order: str | None = None

    def over(self, recorded: Preprocess | None) -> Preprocess | None:
        """What is said in the place of what is recorded; None where neither tells. Raises ModelError."""
        said = not (self.mean is None and self.std is None and self.scale is None)
        if recorded is None and not said:
            return None
        mean, scale, order = column([0.0], "mean"), column([1.0], "scale"), "rgb"
        if recorded is not None:
            mean, scale, order = recorded.mean, recorded.scale, recorded.order
        if self.mean is not None:
            mean = mean_image(self.mean) if isinstance(self.mean, str) else column(self.mean, "mean")
        if self.std is not None or self.scale is not None:
            scale = column([1.0 if self.scale is None else self.scale], "scale") / deviations(self.std or [1.0])
        return Preprocess(mean, scale, self.order or order)


def known(preprocess: Preprocess | None, name: str, where: str = "", missing: str = "") -> Preprocess:
    """A Preprocess that somebody tells. Raises ModelError, with what to do, where nobody does.

    `missing` says why, where it is recorded but for a file.
    """
    if preprocess is None and missing:
        raise ModelError(f'the mean of input "{name}" cannot be read: {missing}; give it by --mean', where or None)
    if preprocess is None:
        raise ModelError(
            f'nothing says how a picture becomes the input "{name}": name the net it was trained in, --data TRAIN_VAL, '
            "or give --mean, --std or --scale (--scale 1: pixels as they are)",
            where or None,
        )
    return preprocess


def column(values: Sequence[float], what: str) -> Floats:
    """Numbers, one a channel, as (c, 1, 1). Raises ModelError for none and for what is not finite."""
    array = np.array(values, np.float32).reshape(-1, 1, 1)
    if not array.size or not np.isfinite(array).all():
        raise ModelError(f"{what} must be finite numbers, not {list(values)}")
    return array


def deviations(values: Sequence[float]) -> Floats:
    """Standard deviations as (c, 1, 1). Raises ModelError for what is not positive."""
    array = column(values, "std")
    if (array <= 0).any():
        raise ModelError(f"std must be positive, not {list(values)}")
    return array


def mean_image(path: str) -> Floats:
    """A mean image as (c, h, w). Raises ModelError for a file that is none."""
    reading.check(path, ModelError, most=_LARGEST_MEAN)
    try:
        return read_mean(path)
    except SdcaffeError as error:
        raise ModelError(error.message, error.where) from None
