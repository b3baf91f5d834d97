"""Nets that `export` wrote come back with the same outputs, as the layers they were where that can be told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from onnx_nets import write_net

from sdcaffe import proto
from sdcaffe.converters.onnx_export import export
from sdcaffe.converters.onnx_import import onnx_to_caffe
from sdcaffe.converters.onnx_runtime import open_session
from sdcaffe.net import Net

INPUT = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 4 dim: 6 dim: 9 } } }\n'


def layer(kind: str, tops: str, bottoms: str, param: str = "") -> str:
    words = " ".join([*(f'bottom: "{b}"' for b in bottoms.split()), *(f'top: "{t}"' for t in tops.split())])
    return f'layer {{ name: "{tops.split()[0]}" type: "{kind}" {words} {param} }}\n'


POOL = layer("Pooling", "p", "x", "pooling_param { kernel_size: 3 stride: 1 }")
GATE = layer("Pooling", "g", "x", "pooling_param { pool: AVE global_pooling: true }")
NETS = {  # the net, and the layers that come back but for Input and Silence
    "slice of channels": (
        layer("Slice", "a b c", "x", "slice_param { slice_point: 1 slice_point: 3 }"),
        ["Slice"],
    ),
    "slice of columns": (layer("Slice", "a b", "x", "slice_param { axis: 3 slice_point: 4 }"), ["Slice"]),
    "largest of two": (
        layer("Slice", "a b", "x") + layer("Eltwise", "y", "a b", "eltwise_param { operation: MAX }"),
        ["Slice", "Eltwise"],
    ),
    "largest of three": (
        layer("Slice", "a b c", "x", "slice_param { axis: 3 }")
        + layer("Eltwise", "y", "a b c", "eltwise_param { operation: MAX }"),
        ["Slice", "Eltwise", "Eltwise"],
    ),
    "coefficients": (
        layer("Slice", "a b", "x") + layer("Eltwise", "y", "a b", "eltwise_param { coeff: 0.5 coeff: -2 }"),
        None,
    ),
    "sum": (layer("Reduction", "y", "x", "reduction_param { axis: 1 }"), ["Reduction"]),
    "mean": (layer("Reduction", "y", "x", "reduction_param { operation: MEAN axis: 2 }"), None),
    "asum": (layer("Reduction", "y", "x", "reduction_param { operation: ASUM axis: 3 coeff: 2 }"), None),
    "sumsq": (layer("Reduction", "y", "x", "reduction_param { operation: SUMSQ axis: 1 }"), None),
    "permute": (layer("Permute", "y", "x", "permute_param { order: 0 order: 2 order: 3 order: 1 }"), ["Permute"]),
    "shuffle": (layer("ShuffleChannel", "y", "x", "shuffle_channel_param { group: 2 }"), None),
    "tile": (layer("Tile", "y", "x", "tile_param { axis: 2 tiles: 3 }"), ["Tile"]),
    "threshold": (layer("Threshold", "y", "x", "threshold_param { threshold: 0.1 }"), ["Threshold"]),
    "bnll": (layer("BNLL", "y", "x"), ["BNLL"]),
    "crop": (
        POOL + layer("Crop", "c", "x p", "crop_param { axis: 2 offset: 1 offset: 2 }") + layer("Eltwise", "y", "c p"),
        ["Pooling", "Slice", "Slice", "Eltwise"],
    ),
    "gate": (
        GATE + layer("Flatten", "f", "g") + layer("Scale", "y", "x f", "scale_param { axis: 0 }"),
        ["Pooling", "Reshape", "Scale"],
    ),
    "bias of a bottom": (
        GATE + layer("Flatten", "f", "g") + layer("Bias", "y", "x f", "bias_param { axis: 0 }"),
        None,
    ),
    "mvn": (layer("MVN", "y", "x"), None),
    "mvn across channels": (layer("MVN", "y", "x", "mvn_param { across_channels: true }"), None),
    "mvn of means": (layer("MVN", "y", "x", "mvn_param { normalize_variance: false }"), None),
    "free reshape": (layer("Reshape", "y", "x", "reshape_param { shape { dim: 0 dim: 4 dim: -1 } }"), ["Reshape"]),
    "axpy": (
        GATE + layer("TanH", "t", "x") + layer("Axpy", "y", "g x t"),
        None,
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_a_net_comes_back(name: str, tmp_path: Path) -> None:
    text, kinds = NETS[name]
    model, weights = write_net(INPUT + text, tmp_path)
    export(model, weights, str(tmp_path / "net.onnx"))
    back = str(tmp_path / "back.prototxt"), str(tmp_path / "back.caffemodel")
    onnx_to_caffe(str(tmp_path / "net.onnx"), *back, {"x": (2, 4, 6, 9)})
    made = [one.type for one in proto.read_net(back[0]).layer if one.type not in ("Input", "Silence")]
    assert kinds is None or made == kinds
    session = open_session(str(tmp_path / "net.onnx"), "net.onnx")
    names = [value.name for value in session.get_outputs()]
    net = Net(back[0], proto.TEST, back[1])
    for batch in (1, 3):
        x = np.random.default_rng(batch).standard_normal((batch, 4, 6, 9)).astype(np.float32)
        net.reshape({"x": x.shape})
        with torch.no_grad():
            got = net({"x": torch.from_numpy(x)})
        assert sorted(got) == sorted(names)
        for blob, expected in zip(names, session.run(names, {"x": x}), strict=True):
            np.testing.assert_allclose(got[blob].numpy(), expected, rtol=1e-4, atol=1e-5)
