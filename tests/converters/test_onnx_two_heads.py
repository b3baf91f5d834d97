"""Layers that each flatten one blob: several heads over it, of several axes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx_nets import write_net

from sdcaffe import proto
from sdcaffe.converters.onnx_export import export
from sdcaffe.converters.onnx_open import Options
from sdcaffe.converters.onnx_runtime import open_session

NET = """
name: "heads"
layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 5 dim: 5 } } }
layer { name: "f" type: "Convolution" bottom: "x" top: "f" convolution_param { num_output: 4 kernel_size: 3
  weight_filler { type: "gaussian" std: 1 } } }
layer { name: "a" type: "InnerProduct" bottom: "f" top: "a" inner_product_param { num_output: 2
  weight_filler { type: "gaussian" std: 1 } } }
layer { name: "b" type: "InnerProduct" bottom: "f" top: "b" inner_product_param { num_output: 3
  weight_filler { type: "gaussian" std: 1 } } }
layer { name: "c" type: "InnerProduct" bottom: "f" top: "c" inner_product_param { num_output: 3 axis: 2
  weight_filler { type: "gaussian" std: 1 } } }
layer { name: "d" type: "Flatten" bottom: "f" top: "d" flatten_param { axis: 2 } }
"""


@pytest.mark.parametrize("options", [Options(), Options(static=True), Options(opset=11), Options(fold=False)])
def test_every_head_gives_its_numbers(options: Options, tmp_path: Path) -> None:
    model, weights = write_net(NET, tmp_path)
    export(model, weights, str(tmp_path / "o.onnx"), options)
    session = open_session(str(tmp_path / "o.onnx"), "o.onnx")
    names = [value.name for value in session.get_outputs()]
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 5)).astype("f4")
    got = dict(zip(names, session.run(names, {"x": x}), strict=True))
    blobs = {layer.name: [np.asarray(b, np.float64) for b in layer.blobs] for layer in proto.read_weights(weights)}
    windows = np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), (3, 3), axis=(2, 3))
    f = np.einsum("nchwij,ocij->nohw", windows, blobs["f"][0]) + blobs["f"][1][:, None, None]
    for name, rows in {"a": f.reshape(2, -1), "b": f.reshape(2, -1), "c": f.reshape(2, 4, -1)}.items():
        expected = rows @ blobs[name][0].T + blobs[name][1]
        assert np.abs(got[name] - expected).max() <= 1e-4 * np.abs(expected).max()
    assert np.abs(got["d"] - f.reshape(2, 4, -1)).max() <= 1e-4 * np.abs(f).max()
