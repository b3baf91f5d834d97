"""Exported models in half precision or 8 bits, with what that costs on the net's own test data. Trains nothing."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from converters.onnx_metadata import Metadata, ModelError
from converters.onnx_runtime import open_session
from sdcaffe import proto
from sdcaffe.graph import keep_layers
from sdcaffe.layers.base import DataLayer, class_of

CALIBRATION_IMAGES = 200  # whose ranges of activations the 8 bits are spread over
_TIMED_RUNS = 30

Batch = tuple[NDArray[Any], NDArray[np.int64]]  # images as the model takes them, labels


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


def smaller(data: bytes, kind: str, source: str, metadata: Metadata, batches: int) -> Smaller:
    """A checked model in `kind` "fp16" or "int8", and both measured on `batches` test batches.

    `source` is a prototxt whose data layer of the TEST phase brings the images. 8 bits are static: ranges come from
    the first `CALIBRATION_IMAGES` of them, weights have a scale for each output. Inputs and outputs keep their types.
    Raises ModelError where there are no such images, and for results that are not finite.
    """
    given = list(_batches(source, metadata, batches))
    name = open_session(data, "the exported model").get_inputs()[0].name
    result = _half(data) if kind == "fp16" else _eight_bits(data, name, [images for images, _ in given])
    return Smaller(
        result, _measured(data, given, metadata), _measured(result, given, metadata), sum(len(y) for _, y in given)
    )


def _half(data: bytes) -> bytes:
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = convert_float_to_float16(onnx.ModelProto.FromString(data), keep_io_types=True)
    return bytes(model.SerializeToString())


def _eight_bits(data: bytes, name: str, batches: list[NDArray[Any]]) -> bytes:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    images = [image[None] for batch in batches for image in batch][:CALIBRATION_IMAGES]

    class Reader(CalibrationDataReader):
        """Hands the images out one by one, then None."""

        def __init__(self) -> None:
            self.images = iter(images)

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            image = next(self.images, None)
            return None if image is None else {name: image}

    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
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


def _measured(data: bytes, batches: list[Batch], metadata: Metadata) -> Measured:
    session = open_session(data, "the smaller model")
    name = session.get_inputs()[0].name
    right = count = 0
    for images, labels in batches:
        scores = session.run([metadata.scores], {name: images})[0]
        if scores.ndim < 2 or len(scores) != len(images):
            raise ModelError(f'output "{metadata.scores}" has shape {scores.shape}: no scores of {len(images)} images')
        if not np.isfinite(scores).all():
            raise ModelError("a score of the smaller model is not finite: its numbers leave the range of its type")
        right += int((scores.reshape(len(images), scores.shape[1], -1).mean(2).argmax(1) == labels).sum())
        count += len(labels)
    times = []
    for _ in range(_TIMED_RUNS):
        start = time.perf_counter()
        session.run(None, {name: batches[0][0][:1]})
        times.append(time.perf_counter() - start)
    return Measured(right / count, len(data), statistics.median(times))


def _batches(source: str, metadata: Metadata, count: int) -> Iterator[Batch]:
    """Batches of the first data layer of a prototxt; for a model that normalises itself, as bytes (n, h, w, c)."""
    net = proto.read_net(source)
    net.state.phase = proto.TEST
    found = [layer for layer in keep_layers(net).layer if issubclass(class_of(layer), DataLayer)]
    if not found or len(found[0].top) < 2:
        raise ModelError("has no data layer with images and labels in its TEST phase", source)
    layer, in_graph = found[0], metadata.normalisation.in_graph
    if in_graph:
        for field in ("mean_file", "mean_value", "scale"):
            layer.transform_param.ClearField(field)
    data: Any = class_of(layer)(layer, proto.TEST)
    data.setup([])
    try:
        for _ in range(count):
            images, labels = (top.contiguous().numpy() for top in data.next_batch(torch.device("cpu"))[:2])
            if in_graph:
                images = images[:, :: -1 if metadata.normalisation.order == "bgr" else 1].transpose(0, 2, 3, 1)
                images = np.ascontiguousarray(images).astype(np.uint8)
            yield images, labels.reshape(-1).astype(np.int64)
    finally:
        data.close()
