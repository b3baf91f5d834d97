"""Classifies pictures through ONNX Runtime, or with any function of prepared images. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdcaffe.converters.onnx_metadata import (
    Metadata,
    ModelError,
    Normalisation,
    label_of,
    read_classes,
    read_metadata,
    read_model,
)
from sdcaffe.converters.onnx_pixels import Pixels, Preprocess, column, known
from sdcaffe.converters.onnx_runtime import open_session
from sdcaffe.data.decode import MAX_PIXELS, read_image, too_large
from sdcaffe.data.resize import resize

Floats = NDArray[np.float32]


@dataclass
class Classifier:
    """Scores of images. `run` takes one prepared image with a batch axis and gives scores (1, classes, ...).

    `size` is the channels, height and width that the net takes; `normalisation` says how it takes them, and
    `metadata` what they are scored for; `where` is the model's file.
    """

    run: Callable[[NDArray[Any]], Floats]
    size: tuple[int, int, int]
    normalisation: Normalisation
    metadata: Metadata
    where: str

    def probabilities(self, path: str) -> Floats:
        """One number a class for the picture at `path`. Raises DataError for a file that is none.

        Raises ModelError where what the net gives is no scores of one picture.
        """
        given = self.run(prepared(path, self.size, self.normalisation, self.where))
        output = f'output "{self.metadata.scores}"'
        if not isinstance(given, np.ndarray) or given.dtype.kind not in "fiub":
            raise ModelError(f"{output} holds no numbers, so no scores of classes", self.where)
        if given.ndim < 2 or len(given) != 1 or not given.size:
            raise ModelError(f"{output} has shape {given.shape}: no scores of one picture", self.where)
        scores = given.astype(np.float32).reshape(*given.shape[:2], -1).mean(2)[0]
        if not np.isfinite(scores).all():
            raise ModelError(f"{output} has scores that are not finite", self.where)
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
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or not outputs:
        shapes = ", ".join(f"{value.name} {value.shape}" for value in inputs)
        raise ModelError(
            f"takes {shapes or 'nothing'} and gives {len(outputs)} outputs; a picture is classified by a model with "
            "one input (n, c, h, w) that gives scores",
            path,
        )
    shape = inputs[0].shape
    if metadata.scores not in outputs:
        metadata.scores = outputs[-1]
    bytes_in = inputs[0].type == "tensor(uint8)"
    size = image_size((shape[3], shape[1], shape[2]) if bytes_in else tuple(shape[1:]), metadata, path)
    if classes is not None:
        metadata.classes = read_classes(classes)

    batch = shape[0] if isinstance(shape[0], int) else 1
    if batch * math.prod(size) > MAX_PIXELS:
        raise ModelError(f"takes {batch} pictures of {size[1]}x{size[2]} at once, too many to classify one", path)

    def run(image: NDArray[Any]) -> Floats:
        try:
            scores: Floats = session.run([metadata.scores], {inputs[0].name: image.repeat(batch, 0)})[0]
        except Exception as error:  # ONNX Runtime has a dozen kinds
            raise ModelError(f"ONNX Runtime fails on it: {' '.join(str(error).split())[:300]}", path) from None
        return scores[:1] if batch > 1 and np.ndim(scores) and len(scores) == batch else scores

    try:
        normalisation = _normalisation(metadata, pixels or Pixels(), inputs[0].name, bytes_in, path)
    except ModelError as error:
        error.where = error.where or path
        raise
    return Classifier(run, size, normalisation, metadata, path)


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


def image_size(sizes: Sequence[object], metadata: Metadata, where: str) -> tuple[int, int, int]:
    """Channels, height and width; what the model leaves free is as the net was written.

    Raises ModelError for what is no size of a picture.
    """
    given = list(sizes)
    for axis, size in enumerate(metadata.size):
        found = given[axis]
        if not isinstance(found, int) or found < 1:
            given[axis] = size
    sizes_known = [size for size in given if isinstance(size, int) and size > 0]
    if len(sizes_known) != len(given) or sizes_known[0] not in (1, 3):
        raise ModelError(
            f"takes images of {given} (channels, height, width); 1 or 3 channels of known size are wanted", where
        )
    channels, height, width = sizes_known
    if words := too_large(height, width):
        raise ModelError(f"takes {words}", where)
    return channels, height, width


def prepared(path: str, size: tuple[int, int, int], normalisation: Normalisation, where: str) -> NDArray[Any]:
    """The picture at `path` as a batch of one, as the net of the file `where` takes it.

    It is resized as Caffe's classification example does.
    """
    channels, height, width = size
    planes = resize(read_image(path, color=channels == 3), height, width)  # blue, green, red
    if normalisation.order == "rgb" or normalisation.in_graph:
        planes = planes[::-1]
    return normalised(planes, channels, normalisation, where)


def normalised(planes: NDArray[Any], channels: int, normalisation: Normalisation, where: str) -> NDArray[Any]:
    """Planes in the order of the net, or RGB for one that takes bytes, as a batch of one that it takes."""
    if normalisation.in_graph:
        return np.ascontiguousarray(planes.transpose(1, 2, 0))[None]
    mean, scale = (np.array(v, np.float32).reshape(-1, 1, 1) for v in (normalisation.mean, normalisation.scale))
    if len(mean) not in (1, channels) or len(scale) not in (1, channels):
        raise ModelError(f"{len(mean)} means and {len(scale)} scales for pictures of {channels} channels", where)
    return np.ascontiguousarray((planes.astype(np.float32) - mean) * scale)[None]


def best(probabilities: Floats, names: Sequence[str], count: int = 5) -> list[tuple[str, float]]:
    """The `count` most probable classes, in falling order; of equals the first."""
    order = np.argsort(-probabilities, kind="stable")[:count]
    return [(label_of(names, int(i)), float(probabilities[i])) for i in order]
