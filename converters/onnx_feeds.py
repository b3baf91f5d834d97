"""Inputs to try a smaller model on, from the net's own images or made up, and its labelled images. Measures nothing."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdcaffe.converters.onnx_calibration import pictures
from sdcaffe.converters.onnx_check import sample
from sdcaffe.converters.onnx_data import Batch, Images, in_batches
from sdcaffe.converters.onnx_dynamic import Plan
from sdcaffe.converters.onnx_half import Feed
from sdcaffe.converters.onnx_metadata import ModelError
from sdcaffe.converters.onnx_open import Opened
from sdcaffe.converters.onnx_pixels import known
from sdcaffe.errors import DataError

CALIBRATION_IMAGES = 200  # whose ranges of activations the 8 bits are spread over
_TRIED = 8


def feeds_of(opened: Opened, kind: str, plan: Plan, source: str, calibration: str | None = None) -> list[Feed]:
    """Inputs of the exported model, as many images each as it takes: `calibration`'s, training's, or else the test's.

    Half precision makes do with random ones. Raises ModelError where 8 bits have none.
    """
    inputs = opened.net.inputs
    name = inputs[0] if inputs else ""
    if kind == "int8" and len(inputs) > 1:
        raise ModelError(f"--int8 is for nets of one input, of images; this one takes {', '.join(inputs)}", source)
    found: list[NDArray[Any]] = []
    images = opened.training or opened.images
    if calibration is not None:
        recorded = known(opened.preprocess, name, missing=opened.missing)
        normalisation = recorded.normalisation(in_graph=_order(opened) is not None)
        found = pictures(calibration, opened.metadata, normalisation, CALIBRATION_IMAGES)
    elif images is not None and (kind == "int8" or labelled_of(opened, plan) is not None):
        count = CALIBRATION_IMAGES if kind == "int8" else _TRIED
        found = _first(images.batches(count, _order(opened)), count)
        if not all(plan.takes(image.shape) for image in found):
            shapes = f"{found[0].shape[1:]}; the model takes {plan.runs[0][name][1:]}"
            raise ModelError(f"has a data layer of images {shapes}: name others, --calibration FOLDER", source)
    elif kind == "int8":
        raise ModelError(
            "has no data layer whose images give the ranges of 8 bits: name pictures, --calibration FOLDER", source
        )
    if found and (plan.batch or 1) > 1:
        found = list(in_batches(np.concatenate(found), plan.batch or 1))
    if found:
        return [{name: batch} for batch in found]
    opened.net.reshape(plan.runs[0])
    return [sample(opened.net, plan.runs[0], opened.preprocess, in_bytes=_order(opened) is not None)]


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


def labelled_of(opened: Opened, plan: Plan) -> Images | None:
    """The images to tell the accuracy by: None where there are none with labels that the model takes."""
    images = opened.images
    if images is None or not images.labels or opened.missing or len(opened.net.inputs) > 1:
        return None
    try:
        with closing(images.batches(1, _order(opened))) as batches:
            first, _ = next(batches)
    except DataError:
        return None
    return images if plan.takes(first.shape) else None
