"""The ONNX file of a detector: what it takes, what it says of its pixels, and the rows it finds. Draws nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdcaffe.converters.onnx_classify import image_size
from sdcaffe.converters.onnx_metadata import ModelError, Normalisation, read_metadata, read_model
from sdcaffe.converters.onnx_runtime import open_session

_BYTES = "tensor(uint8)"


@dataclass
class Finder:
    """`run` takes a batch of one, (1, c, h, w) or bytes (1, h, w, c), and gives rows (m, 7) as DetectionOutput does.

    `size` is the channels, height and width that it takes; `normalisation` is None where the file does not tell.
    """

    run: Callable[[NDArray[Any]], NDArray[np.float32]]
    size: tuple[int, int, int]
    normalisation: Normalisation | None


def open_finder(path: str) -> Finder:
    """The Finder of an ONNX file. Raises ModelError for a file that is no model, or no detector."""
    model = read_model(path)
    metadata = read_metadata({entry.key: entry.value for entry in model.metadata_props}, path)
    session = open_session(path, path)
    inputs = session.get_inputs()
    outputs = [value.name for value in session.get_outputs() if len(value.shape) == 4 and value.shape[3] == 7]
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or len(outputs) != 1:
        raise ModelError("is no detector: it needs one input of images and one output (1, 1, detections, 7)", path)
    shape = inputs[0].shape
    in_bytes = inputs[0].type == _BYTES
    size = image_size((shape[3], shape[1], shape[2]) if in_bytes else tuple(shape[1:]), metadata, path)
    batch = shape[0] if isinstance(shape[0], int) else 1

    def run(image: NDArray[Any]) -> NDArray[np.float32]:
        images = np.zeros((batch, *image.shape[1:]), image.dtype)
        images[:1] = image
        try:
            rows: NDArray[np.float32] = session.run(outputs, {inputs[0].name: images})[0]
        except Exception as error:  # ONNX Runtime has a dozen kinds
            raise ModelError(f"ONNX Runtime fails on it: {' '.join(str(error).split())[:300]}", path) from None
        return rows.reshape(-1, 7)

    normalisation = Normalisation(in_graph=True) if in_bytes else metadata.normalisation
    return Finder(run, size, normalisation)
