"""Inputs to try a smaller model on, from the net's own images or made up, and its labelled images. Measures nothing."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import Any

from numpy.typing import NDArray

from sdcaffe.converters.onnx_calibration import pictures
from sdcaffe.converters.onnx_check import sample
from sdcaffe.converters.onnx_data import Batch, Images
from sdcaffe.converters.onnx_half import Feed
from sdcaffe.converters.onnx_metadata import ModelError
from sdcaffe.converters.onnx_open import Opened
from sdcaffe.converters.onnx_pixels import known
from sdcaffe.errors import DataError

CALIBRATION_IMAGES = 200  # whose ranges of activations the 8 bits are spread over
_TRIED = 8


def feeds_of(opened: Opened, kind: str, source: str, calibration: str | None = None) -> list[Feed]:
    """Inputs of the exported model, each a batch of one image: `calibration`'s, training's, or else the test's.

    Half precision makes do with random ones. Raises ModelError where 8 bits have none.
    """
    name = opened.net.inputs[0] if opened.net.inputs else ""
    if calibration is not None:
        recorded = known(opened.preprocess, name, missing=opened.missing)
        normalisation = recorded.normalisation(in_graph=_order(opened) is not None)
        found = pictures(calibration, opened.metadata, normalisation, CALIBRATION_IMAGES)
        return [{name: picture} for picture in found]
    images = opened.training or opened.images
    if images is not None and (kind == "int8" or labelled_of(opened) is not None):
        count = CALIBRATION_IMAGES if kind == "int8" else _TRIED
        return [{name: image} for image in _first(images.batches(count, _order(opened)), count)]
    if kind == "int8":
        raise ModelError(
            "has no data layer whose images give the ranges of 8 bits: name pictures, --calibration FOLDER", source
        )
    shapes = {name: opened.net.blob_shapes[name] for name in opened.net.inputs}
    return [sample(opened.net, shapes, opened.preprocess, in_bytes=_order(opened) is not None)]


def _order(opened: Opened) -> str | None:
    """The channel order of a net whose model takes bytes."""
    normalisation = opened.metadata.normalisation
    return normalisation.order if normalisation is not None and normalisation.in_graph else None


def _first(batches: Generator[Batch, None, None], count: int) -> list[NDArray[Any]]:
    """The first `count` images, each a batch of one."""
    found: list[NDArray[Any]] = []
    with closing(batches):
        for images, _ in batches:
            found.extend(images[i : i + 1] for i in range(len(images)))
            if len(found) >= count:
                break
    return found[:count]


def labelled_of(opened: Opened) -> Images | None:
    """The images to tell the accuracy by, None where there are none with labels, or they are elsewhere."""
    images = opened.images
    if images is None or not images.labels or opened.missing:
        return None
    try:
        with closing(images.batches(1)) as batches:
            next(batches)
    except DataError:
        return None
    return images
