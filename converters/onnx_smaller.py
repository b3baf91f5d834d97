"""Exported models in half precision or 8 bits, with what that costs on the net's own test data. Trains nothing."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdcaffe.converters.onnx_data import Batch, Images
from sdcaffe.converters.onnx_metadata import Metadata, ModelError
from sdcaffe.converters.onnx_runtime import open_session

CALIBRATION_IMAGES = 200  # whose ranges of activations the 8 bits are spread over
_TIMED_RUNS = 30


@dataclass
class Measured:
    """Of one model: the share of images right, its file's bytes, the median time of one image in seconds."""

    accuracy: float
    size: int
    latency: float


@dataclass
class Smaller:
    """The smaller model's bytes, what was measured of both, and on how many images."""

    data: bytes
    before: Measured
    after: Measured
    images: int


def smaller(
    data: bytes, kind: str, images: Images, calibration: Images, metadata: Metadata, batches: int | None
) -> Smaller:
    """A checked model in `kind` "fp16" or "int8", and both measured on `images`, or on the first `batches` of them.

    8 bits are static: ranges come from the first `CALIBRATION_IMAGES` of `calibration`, weights have a scale for each
    output. Inputs and outputs keep their types. Raises ModelError for results that are not finite.
    """
    normalisation = metadata.normalisation
    order = normalisation.order if normalisation is not None and normalisation.in_graph else None
    name = open_session(data, "the exported model").get_inputs()[0].name
    if kind == "fp16":
        result = _half(data)
    else:
        result = _eight_bits(data, name, _first(calibration.batches(CALIBRATION_IMAGES, order), CALIBRATION_IMAGES))
    before, after = (_Measuring(model, metadata.scores) for model in (data, result))
    for pictures, labels in images.batches(batches, order):
        before.add(pictures, labels)
        after.add(pictures, labels)
    return Smaller(result, before.result(), after.result(), before.count)


def _first(batches: Generator[Batch, None, None], count: int) -> list[NDArray[Any]]:
    """The first `count` images, each a batch of one."""
    found: list[NDArray[Any]] = []
    with closing(batches):
        for images, _ in batches:
            found.extend(images[i : i + 1] for i in range(len(images)))
            if len(found) >= count:
                break
    return found[:count]


def _half(data: bytes) -> bytes:
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = convert_float_to_float16(onnx.ModelProto.FromString(data), keep_io_types=True)
    return bytes(model.SerializeToString())


def _eight_bits(data: bytes, name: str, images: list[NDArray[Any]]) -> bytes:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        """Hands the images out one by one, then None."""

        def __init__(self) -> None:
            self.images = iter(images)

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            image = next(self.images, None)
            return None if image is None else {name: image}

    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
        try:
            before.write_bytes(data)
            quantize_static(
                before,
                after,
                Reader(),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
            )
            return after.read_bytes()
        except OSError as error:
            raise ModelError(f"cannot hold the models in between: {error.strerror or error}", folder) from None


class _Measuring:
    """Counts what a model gets right, batch by batch, and times it."""

    def __init__(self, data: bytes, scores: str) -> None:
        self.session = open_session(data, "the smaller model")
        self.scores, self.size = scores, len(data)
        self.right = self.count = 0
        self.one: dict[str, NDArray[Any]] = {}  # an image to be timed

    def add(self, images: NDArray[Any], labels: NDArray[np.int64]) -> None:
        name = self.session.get_inputs()[0].name
        self.one = self.one or {name: images[:1]}
        scores = self.session.run([self.scores], {name: images})[0]
        if scores.ndim < 2 or len(scores) != len(images):
            raise ModelError(f'output "{self.scores}" has shape {scores.shape}: no scores of {len(images)} images')
        if not np.isfinite(scores).all():
            raise ModelError("a score of the smaller model is not finite: its numbers leave the range of its type")
        self.right += int((scores.reshape(*scores.shape[:2], -1).mean(2).argmax(1) == labels).sum())
        self.count += len(labels)

    def result(self) -> Measured:
        times = []
        for _ in range(_TIMED_RUNS):
            start = time.perf_counter()
            self.session.run(None, self.one)
            times.append(time.perf_counter() - start)
        return Measured(self.right / self.count, self.size, statistics.median(times))
