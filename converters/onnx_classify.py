"""Classifies pictures through ONNX Runtime, or with any function of prepared images. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.onnx_metadata import (
    Metadata,
    ModelError,
    Normalisation,
    label_of,
    read_classes,
    read_metadata,
    read_model,
)
from converters.onnx_pixels import Pixels, Preprocess, column, known
from converters.onnx_runtime import open_session
from sdcaffe.data.decode import read_image
from sdcaffe.data.resize import resize

Floats = NDArray[np.float32]


@dataclass
class Classifier:
    """Scores of images. `run` takes one prepared image with a batch axis and gives scores (1, classes, ...).

    `size` is the channels, height and width that the net takes; `normalisation` says how it takes them, and
    `metadata` what they are scored for.
    """

    run: Callable[[NDArray[Any]], Floats]
    size: tuple[int, int, int]
    normalisation: Normalisation
    metadata: Metadata

    def probabilities(self, path: str) -> Floats:
        """One number a class for the picture at `path`. Raises DataError for a file that is none."""
        scores = np.asarray(self.run(prepared(path, self.size, self.normalisation)), np.float32)
        scores = scores.reshape(scores.shape[0], scores.shape[1] if scores.ndim > 1 else 1, -1).mean(2)[0]
        if self.metadata.probabilities:
            return scores
        powers = np.exp(scores - scores.max())
        return powers / powers.sum()


def open_onnx(path: str, classes: str | None = None, pixels: Pixels | None = None) -> Classifier:
    """The Classifier of an ONNX file. `classes` is a file of names in place of those the model carries.

    `pixels` is said in the place of what the model records of its input; one that takes bytes needs nothing.
    Raises ModelError for a file that is no model, or whose input is no image.
    """
    model = read_model(path)
    metadata = read_metadata({entry.key: entry.value for entry in model.metadata_props}, path)
    session = open_session(path, path)
    inputs, outputs = session.get_inputs(), [value.name for value in session.get_outputs()]
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        shapes = ", ".join(f"{value.name} {value.shape}" for value in inputs)
        raise ModelError(
            f"takes {shapes or 'nothing'}; a picture is classified by a model with one input (n, c, h, w)", path
        )
    shape = inputs[0].shape
    last = metadata.scores if metadata.scores in outputs else outputs[-1]
    bytes_in = inputs[0].type == "tensor(uint8)"
    size = _size((shape[3], shape[1], shape[2]) if bytes_in else tuple(shape[1:]), metadata, path)
    if classes is not None:
        metadata.classes = read_classes(classes)

    def run(image: NDArray[Any]) -> Floats:
        try:
            scores: Floats = session.run([last], {inputs[0].name: image})[0]
        except Exception as error:  # ONNX Runtime has a dozen kinds
            raise ModelError(f"ONNX Runtime fails on it: {' '.join(str(error).split())[:300]}", path) from None
        return scores

    return Classifier(run, size, _normalisation(metadata, pixels or Pixels(), inputs[0].name, bytes_in, path), metadata)


def _normalisation(metadata: Metadata, pixels: Pixels, name: str, bytes_in: bool, where: str) -> Normalisation:
    said = pixels.over(None)
    if bytes_in:
        if said is not None or pixels.order is not None:
            raise ModelError("takes bytes and normalises them itself: there is nothing to say of its pixels", where)
        return Normalisation(in_graph=True)
    recorded = metadata.normalisation
    if recorded is None:
        return known(said, name, where).normalisation()
    mean, scale = column(recorded.mean, "mean"), column(recorded.scale, "scale")
    return known(pixels.over(Preprocess(mean, scale, recorded.order)), name, where).normalisation()


def _size(sizes: Sequence[Any], metadata: Metadata, where: str) -> tuple[int, int, int]:
    """Channels, height and width; what the model leaves free is as the net was written."""
    given = list(sizes)
    for axis, size in enumerate(metadata.size):
        if not isinstance(given[axis], int) or given[axis] < 1:
            given[axis] = size
    if not all(isinstance(size, int) and size > 0 for size in given) or given[0] not in (1, 3):
        raise ModelError(
            f"takes images of {given} (channels, height, width); 1 or 3 channels of known size are wanted", where
        )
    return given[0], given[1], given[2]


def prepared(path: str, size: tuple[int, int, int], normalisation: Normalisation) -> NDArray[Any]:
    """The picture at `path` as a batch of one, as a net takes it; resized as Caffe's classification example does."""
    channels, height, width = size
    planes = resize(read_image(path, color=channels == 3), height, width)  # blue, green, red
    if normalisation.in_graph:
        return np.ascontiguousarray(planes[::-1].transpose(1, 2, 0))[None]
    if normalisation.order == "rgb":
        planes = planes[::-1]
    mean, scale = (np.array(v, np.float32).reshape(-1, 1, 1) for v in (normalisation.mean, normalisation.scale))
    if len(mean) not in (1, channels) or len(scale) not in (1, channels):
        raise ModelError(f"{len(mean)} means and {len(scale)} scales for pictures of {channels} channels")
    return np.ascontiguousarray((planes.astype(np.float32) - mean) * scale)[None]


def best(probabilities: Floats, names: Sequence[str], count: int = 5) -> list[tuple[str, float]]:
    """The `count` most probable classes, in falling order; of equals the first."""
    order = np.argsort(-probabilities, kind="stable")[:count]
    return [(label_of(names, int(i)), float(probabilities[i])) for i in order]
