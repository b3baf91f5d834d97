"""The normalisation that goes with an exported net: from its data layer, or as its user says."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.onnx_deploy import Deployed
from converters.onnx_metadata import ModelError, Normalisation
from converters.onnx_module import Preprocess
from sdcaffe import proto
from sdcaffe.net import Net

Floats = NDArray[np.float32]

_LARGEST_MEAN = 1 << 28  # bytes of a mean file


@dataclass
class Pixels:
    """What the user says of the net's input: (pixel - mean) * scale / std. None: as the data layer has it.

    `mean` is numbers, one or one a channel, or a mean image's file (.binaryproto or .npy).
    """

    mean: str | Sequence[float] | None = None
    std: Sequence[float] | None = None
    scale: float | None = None
    order: str | None = None


def normalisation(part: Deployed, pixels: Pixels, *, in_graph: bool) -> Normalisation:
    """As metadata: of a mean image each channel's mean, as Caffe's classification example takes it."""
    mean, scale = _mean(part, pixels), _scale(part, pixels)
    return Normalisation(
        [float(x) for x in mean.mean((1, 2))], [float(x) for x in scale.ravel()], _order(part, pixels), in_graph
    )


def preprocess_of(part: Deployed, pixels: Pixels, net: Net) -> Preprocess:
    """As part of the graph, for the net's first input. Raises ModelError where it does not fit that."""
    name = net.inputs[0] if net.inputs else ""
    shape = net.blob_shapes.get(name, ())
    if len(shape) != 4 or shape[1] not in (1, 3):
        raise ModelError(f'--preprocess is for images of 1 or 3 channels; input "{name}" has shape {tuple(shape)}')
    mean, scale = _mean(part, pixels), _scale(part, pixels)
    for what, values in (("mean", mean), ("std and scale", scale)):
        if len(values) not in (1, shape[1]):
            raise ModelError(f'{len(values)} numbers of {what} for the {shape[1]} channels of input "{name}"')
    if mean.shape[1:] != (1, 1):
        h, w = shape[2:]
        if mean.shape[1] < h or mean.shape[2] < w:
            raise ModelError(f"the mean image is {mean.shape[1]} x {mean.shape[2]}, smaller than the input's {h} x {w}")
        top, left = (mean.shape[1] - h) // 2, (mean.shape[2] - w) // 2
        mean = mean[:, top : top + h, left : left + w]
    return Preprocess(np.ascontiguousarray(mean), scale, _order(part, pixels))


def _column(values: Sequence[float], what: str) -> Floats:
    array = np.array(values, np.float32).reshape(-1, 1, 1)
    if not array.size or not np.isfinite(array).all():
        raise ModelError(f"{what} must be finite numbers, not {list(values)}")
    return array


def _mean(part: Deployed, pixels: Pixels) -> Floats:
    if isinstance(pixels.mean, str):
        return _mean_image(pixels.mean)
    if pixels.mean is not None:
        return _column(pixels.mean, "mean")
    if part.transform is not None and part.transform.HasField("mean_file"):
        return _mean_image(part.transform.mean_file)
    given = list(part.transform.mean_value) if part.transform is not None else []
    return _column(given or [0.0], "mean_value")


def _scale(part: Deployed, pixels: Pixels) -> Floats:
    scale = pixels.scale
    if scale is None:
        scale = part.transform.scale if part.transform is not None else 1.0
    std = _column(pixels.std or [1.0], "std")
    if (std <= 0).any():
        raise ModelError(f"std must be positive, not {list(pixels.std or [])}")
    return np.float32(scale) / std


def _order(part: Deployed, pixels: Pixels) -> str:
    return pixels.order or ("bgr" if part.blue_first else "rgb")


def _mean_image(path: str) -> Floats:
    """A mean image as (c, h, w)."""
    try:
        if os.path.getsize(path) > _LARGEST_MEAN:
            raise ModelError("is too large for a mean image", path)
        array: Any = np.load(path, allow_pickle=False) if path.endswith(".npy") else proto.read_blob(path)
    except (OSError, ValueError, EOFError) as error:
        raise ModelError(f"no mean image: {error}", path) from None
    array = np.asarray(array, np.float32)
    array = array[0] if array.ndim == 4 and len(array) == 1 else array
    if array.ndim != 3 or not array.size:
        raise ModelError(f"a mean image has shape (channels, height, width), not {array.shape}", path)
    return array
