"""Pooling in ONNX files for images of any size, held against Caffe's loops over each window, in float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx_nets import write_net

from sdcaffe.converters.onnx_export import export
from sdcaffe.converters.onnx_runtime import open_session

Sizes = tuple[int, int]

NET = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 dim: 9 dim: 7 } } }
layer { name: "p" type: "Pooling" bottom: "x" top: "y" pooling_param { pool: METHOD
  kernel_h: KH kernel_w: KW stride_h: SH stride_w: SW pad_h: PH pad_w: PW } }
"""


def caffes(x: np.ndarray, method: str, kernel: Sizes, stride: Sizes, pad: Sizes) -> np.ndarray:
    """pooling_layer.cpp's loops; a window that begins behind image and padding before is dropped."""
    counts = []
    for size, k, s, p in zip(x.shape[2:], kernel, stride, pad, strict=True):
        count = int(np.ceil((size + 2 * p - k) / s)) + 1
        counts.append(count - ((count - 1) * s >= size + p))
    top = np.empty((*x.shape[:2], *counts))
    height, width = x.shape[2:]
    for i, j in np.ndindex(*counts):
        h, w = i * stride[0] - pad[0], j * stride[1] - pad[1]
        h_end, w_end = min(h + kernel[0], height + pad[0]), min(w + kernel[1], width + pad[1])
        window = x[:, :, max(h, 0) : min(h_end, height), max(w, 0) : min(w_end, width)].astype(np.float64)
        area = (h_end - h) * (w_end - w)
        top[:, :, i, j] = window.max((2, 3)) if method == "MAX" else window.sum((2, 3)) / area
    return top


@pytest.mark.parametrize("method", ["AVE", "MAX"])
@pytest.mark.parametrize(
    ("kernel", "stride", "pad"),
    [((2, 3), (3, 2), (1, 0)), ((3, 3), (2, 2), (2, 2)), ((4, 2), (3, 3), (3, 1)), ((2, 2), (2, 3), (1, 1))],
)
def test_windows_that_begin_in_the_padding_are_dropped_at_any_size(
    method: str, kernel: Sizes, stride: Sizes, pad: Sizes, tmp_path: Path
) -> None:
    text = NET.replace("METHOD", method)
    for word, sizes in (("K", kernel), ("S", stride), ("P", pad)):
        text = text.replace(f"{word}H", str(sizes[0])).replace(f"{word}W", str(sizes[1]))
    model, weights = write_net(text, tmp_path)
    export(model, weights, str(tmp_path / "net.onnx"))
    session = open_session(str(tmp_path / "net.onnx"), "")
    for shape in ((1, 2, 9, 7), (2, 2, 10, 8), (1, 2, 11, 9), (1, 2, 12, 12)):
        x = np.random.default_rng(3).standard_normal(shape).astype(np.float32)
        (got,) = session.run(["y"], {"x": x})
        expected = caffes(x, method, kernel, stride, pad)
        assert got.shape == expected.shape
        assert np.abs(got - expected).max() <= 1e-6 * np.abs(expected).max()
