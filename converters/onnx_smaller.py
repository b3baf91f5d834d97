"""Exported models in half precision or 8 bits, with what that costs: size, time, scores, accuracy. Trains nothing."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdcaffe.converters.onnx_check import relative_difference
from sdcaffe.converters.onnx_data import Images, in_batches
from sdcaffe.converters.onnx_half import Feed, half
from sdcaffe.converters.onnx_metadata import Metadata, ModelError
from sdcaffe.converters.onnx_runtime import give, open_session

_TIMED_RUNS = 30
_PERCENTILE = 99.99  # of the values of an activation
_PRODUCTS = ("Conv", "FusedConv", "ConvTranspose", "Gemm", "FusedGemm", "MatMul", "FusedMatMul")
_BY_OUTPUT = 13  # the first opset with a scale for each output of a weight; older ones have one for all
_COMPARED = 20  # inputs on which scores are compared


@dataclass
class Measured:
    """Of one model: its file's bytes, the median seconds of one pass, the share of images right where labels are."""

    size: int
    latency: float
    accuracy: float | None = None


@dataclass
class Smaller:
    """The smaller model's bytes, what was measured of both, and on how many labelled images.

    `moved` is how far its outputs are from the full model's, of their largest value; `kept` what stays in float32.
    """

    data: bytes
    before: Measured
    after: Measured
    images: int
    moved: float
    kept: list[str] = field(default_factory=list)


def smaller(
    data: bytes,
    kind: str,
    feeds: Sequence[Feed],
    labelled: Images | None,
    metadata: Metadata,
    batches: int | None,
    judged: Sequence[str],
) -> Smaller:
    """A checked model in `kind` "fp16" or "int8", whose values `judged` are compared with the full one's on `feeds`.

    Both are measured on `labelled`, or on the first `batches` of them. 8 bits are static: ranges come from all of
    `feeds`, weights have a scale for each output where the opset can say so. Inputs and outputs keep their types.
    Raises ModelError for results that are not finite.
    """
    if kind == "fp16":
        result, kept = half(data, feeds[0], judged)
    else:
        result, kept = _eight_bits(data, feeds, judged)
    before, after = (_Measuring(model, metadata.scores, feeds[0]) for model in (data, result))
    moved = max(_moved(data, result, feeds, judged))
    if labelled is not None:
        normalisation = metadata.normalisation
        order = normalisation.order if normalisation is not None and normalisation.in_graph else None
        for pictures, labels in labelled.batches(batches, order):
            before.add(pictures, labels)
            after.add(pictures, labels)
    return Smaller(result, before.result(), after.result(), before.count, moved, kept)


def _moved(full: bytes, made: bytes, feeds: Sequence[Feed], judged: Sequence[str]) -> list[float]:
    """How far the values `judged` of two models are apart, for each of some feeds."""
    import onnx

    before, after = (onnx.ModelProto.FromString(data) for data in (full, made))
    named = [list(judged), [_as_read(after, name) for name in judged]]
    sessions = []
    for model, names in zip((before, after), named, strict=True):
        give(model, names)
        sessions.append(open_session(model.SerializeToString(), "the exported model or its smaller one"))

    def apart(feed: Feed) -> float:
        expected, got = (session.run(names, dict(feed)) for session, names in zip(sessions, named, strict=True))
        return max(relative_difference(a.astype(np.float32), b) for a, b in zip(got, expected, strict=True))

    return [apart(feed) for feed in feeds[:_COMPARED]]


def _as_read(model: Any, name: str) -> str:
    """The value in whose place nodes read `name`: what 8 bits leave of it, for a ReLU may have gone into these."""
    reads = {(node.op_type, node.input[0]): node.output[0] for node in model.graph.node if node.input}
    return reads.get(("DequantizeLinear", reads.get(("QuantizeLinear", name), "")), name)


def _eight_bits(data: bytes, feeds: Sequence[Feed], judged: Sequence[str]) -> tuple[bytes, list[str]]:
    """The model in 8 bits, and the nodes that ONNX Runtime still computes in float32.

    Ranges are the least and largest values, or all but the outermost 0.01 %, whichever moves the values `judged` less.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod

    opset = onnx.ModelProto.FromString(data).opset_import[0].version
    best: tuple[float, bytes] | None = None
    for method in (CalibrationMethod.MinMax, CalibrationMethod.Percentile):
        made = _quantised(data, feeds, method, by_output=opset >= _BY_OUTPUT)
        off = statistics.fmean(_moved(data, made, feeds, judged))
        if best is None or off < best[0]:
            best = off, made
    assert best is not None
    return best[1], _left_in_float(best[1])


def _quantised(data: bytes, feeds: Sequence[Feed], method: Any, *, by_output: bool = True) -> bytes:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        """Hands the inputs out one by one, then None."""

        def __init__(self) -> None:
            self.feeds = iter(feeds)

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            feed = next(self.feeds, None)
            return None if feed is None else dict(feed)

    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
        try:
            before.write_bytes(data)
            quantize_static(
                before,
                after,
                Reader(),
                quant_format=QuantFormat.QDQ,
                per_channel=by_output,
                activation_type=QuantType.QUInt8,  # of which ONNX Runtime takes a ReLU into the convolution before
                weight_type=QuantType.QInt8,
                reduce_range=True,  # 7 bits: sums of two products of 8 saturate on processors without VNNI
                calibrate_method=method,
                extra_options={"CalibPercentile": _PERCENTILE},
            )
            return after.read_bytes()
        except OSError as error:
            raise ModelError(f"cannot hold the models in between: {error.strerror or error}", folder) from None


def _left_in_float(data: bytes) -> list[str]:
    """The convolutions and products that ONNX Runtime, when it has fused what it can, computes in float32."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "fused.onnx")
        onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        fused = onnx.load(options.optimized_model_filepath)
    return [node.name for node in fused.graph.node if node.op_type in _PRODUCTS]


class _Measuring:
    """Counts what a model gets right, batch by batch, and times it."""

    def __init__(self, data: bytes, scores: str, one: Feed) -> None:
        self.session = open_session(data, "the smaller model")
        self.scores, self.size = scores, len(data)
        self.right = self.count = 0
        self.one: Mapping[str, NDArray[Any]] = one  # what is timed

    def add(self, images: NDArray[Any], labels: NDArray[np.int64]) -> None:
        taken = self.session.get_inputs()[0]
        size = taken.shape[0] if isinstance(taken.shape[0], int) else len(images)
        found = [self.session.run([self.scores], {taken.name: some})[0] for some in in_batches(images, size)]
        if found[0].ndim < 2 or len(found[0]) != size:
            raise ModelError(f'output "{self.scores}" has shape {found[0].shape}: no scores of {size} images')
        scores = np.concatenate(found)[: len(images)]
        if not np.isfinite(scores).all():
            raise ModelError("a score of the smaller model is not finite: its numbers leave the range of its type")
        self.right += int((scores.reshape(*scores.shape[:2], -1).mean(2).argmax(1) == labels).sum())
        self.count += len(labels)

    def result(self) -> Measured:
        times = []
        for _ in range(_TIMED_RUNS):
            start = time.perf_counter()
            self.session.run(None, dict(self.one))
            times.append(time.perf_counter() - start)
        return Measured(self.size, statistics.median(times), self.right / self.count if self.count else None)
