"""Nets that `export` wrote come back with the same outputs, as the layers they were where that can be told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx_nets import ROOT, write_net

from sdcaffe import proto
from sdcaffe.converters.onnx_export import export
from sdcaffe.converters.onnx_import import onnx_to_caffe
from sdcaffe.converters.onnx_metadata import ModelError
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


def test_a_factor_without_the_batch_comes_back_for_any_batch(tmp_path: Path) -> None:
    """Of inputs only `x` has a free batch; the factor (3, 4) is spread over it and over the last axis."""
    text = """
    layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 4 dim: 5 } } }
    layer { name: "f" type: "Input" top: "f" input_param { shape { dim: 3 dim: 4 } } }
    """
    text += layer("Scale", "s", "x f", "scale_param { axis: 1 bias_term: true }")
    text += layer("Bias", "y", "s f", "bias_param { axis: 1 }")
    path, back = str(tmp_path / "net.onnx"), (str(tmp_path / "back.prototxt"), str(tmp_path / "back.caffemodel"))
    export(*write_net(text, tmp_path), path)
    onnx_to_caffe(path, *back)
    net = Net(back[0], proto.TEST, back[1])
    for batch in (1, 3):
        x, f = torch.randn(batch, 3, 4, 5), torch.randn(3, 4)
        net.reshape({"x": x.shape, "f": f.shape})
        (expected,) = open_session(path, "net.onnx").run(None, {"x": x.numpy(), "f": f.numpy()})
        np.testing.assert_allclose(net({"x": x, "f": f})["y"].detach().numpy(), expected, rtol=1e-4, atol=1e-5)


def check(model: str, back: tuple[str, str]) -> None:
    session = open_session(model, "net.onnx")
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


def kinds_of(path: str) -> list[str]:
    return [one.type for one in proto.read_net(path).layer if one.type not in ("Input", "Silence")]


@pytest.mark.parametrize("name", NETS)
def test_a_net_comes_back(name: str, tmp_path: Path) -> None:
    """As the layers that its file tells; and by its operators alone, as those of other exporters."""
    text, kinds = NETS[name]
    path, (model, weights) = str(tmp_path / "net.onnx"), write_net(INPUT + text, tmp_path)
    export(model, weights, path)
    back = str(tmp_path / "back.prototxt"), str(tmp_path / "back.caffemodel")
    onnx_to_caffe(path, *back, {"x": (2, 4, 6, 9)})
    assert kinds_of(back[0]) == kinds_of(model)
    check(path, back)
    silent = onnx.load(path)
    (told,) = [entry for entry in silent.metadata_props if entry.key == "layers"]
    silent.metadata_props.remove(told)
    onnx.save(silent, path)
    onnx_to_caffe(path, *back, {"x": (2, 4, 6, 9)})
    assert kinds is None or kinds_of(back[0]) == kinds
    check(path, back)


RECURRENT = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 5 dim: 2 dim: 4 } } }
layer { name: "cont" type: "Input" top: "cont" input_param { shape { dim: 5 dim: 2 } } }
"""
STATES = """
layer { name: "h" type: "Input" top: "h" top: "c" input_param { shape { dim: 1 dim: 2 dim: 3 } } }
layer { name: "l" type: "LSTM" bottom: "x" bottom: "cont" bottom: "h" bottom: "c" top: "y" top: "ho" top: "co"
  recurrent_param { num_output: 3 expose_hidden: true weight_filler { type: "xavier" } } }
"""


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "states"])
def test_a_recurrent_net_comes_back_without_being_told_its_streams(kind: str, tmp_path: Path) -> None:
    own = layer(kind, "y", "x cont", 'recurrent_param { num_output: 3 weight_filler { type: "xavier" } }')
    model, weights = write_net(RECURRENT + (STATES if kind == "states" else own), tmp_path)
    export(model, weights, str(tmp_path / "net.onnx"))
    back = str(tmp_path / "back.prototxt"), str(tmp_path / "back.caffemodel")
    onnx_to_caffe(str(tmp_path / "net.onnx"), *back)
    net = Net(back[0], proto.TEST, [back[1]])
    assert [step.type for step in net.param.layer if step.type != "Input"] == ["RNN" if kind == "RNN" else "LSTM"]
    session = open_session(str(tmp_path / "net.onnx"), "")
    random = np.random.default_rng(0)
    x = {name: random.standard_normal(net.blob_shapes[name]).astype(np.float32) for name in net.inputs}
    x["cont"] = np.array([[0], [1], [1], [0], [1]], np.float32)
    names = [value.name for value in session.get_outputs()]
    with torch.no_grad():
        got = net({name: torch.from_numpy(values) for name, values in x.items()})
    for name, expected in zip(names, session.run(names, x), strict=True):
        np.testing.assert_allclose(got[name].numpy(), expected, rtol=1e-5, atol=1e-6)


def test_inputs_come_back_each_in_its_own_size(tmp_path: Path) -> None:
    small = 'layer { name: "z" type: "Input" top: "z" input_param { shape { dim: 2 dim: 2 dim: 3 dim: 5 } } }\n'
    crop = layer("Crop", "y", "x z", "crop_param { axis: 1 offset: 1 }")
    model, weights = write_net(INPUT + small + crop, tmp_path)
    export(model, weights, str(tmp_path / "net.onnx"))
    done = onnx_to_caffe(str(tmp_path / "net.onnx"), str(tmp_path / "b.prototxt"), str(tmp_path / "b.caffemodel"))
    assert done.inputs == {"x": (1, 4, 6, 9), "z": (1, 2, 3, 5)}
    net = Net(str(tmp_path / "b.prototxt"), proto.TEST, [str(tmp_path / "b.caffemodel")])
    x = np.random.default_rng(0).standard_normal((1, 4, 6, 9)).astype(np.float32)
    got = net({"x": torch.from_numpy(x), "z": torch.zeros(1, 2, 3, 5)})["y"]
    np.testing.assert_array_equal(got.numpy(), x[:, 1:3, 1:4, 1:6])


def test_a_batch_of_one_that_does_not_do_is_told(tmp_path: Path) -> None:
    two = layer("Slice", "a b", "x", "slice_param { axis: 0 }") + layer("Eltwise", "y", "a b")
    model, weights = write_net(INPUT + two, tmp_path)
    export(model, weights, str(tmp_path / "net.onnx"))
    with pytest.raises(ModelError, match=r"with a batch of 1: --shape x=N,\.\.\. gives another"):
        onnx_to_caffe(str(tmp_path / "net.onnx"), str(tmp_path / "b.prototxt"), str(tmp_path / "b.caffemodel"))
    assert not (tmp_path / "b.prototxt").exists()


def test_what_a_file_tells_is_held_against_it(tmp_path: Path) -> None:
    """A file that was changed since, or that tells of layers that no deployed net has, is read by its operators."""
    path, (model, weights) = str(tmp_path / "net.onnx"), write_net(INPUT + NETS["tile"][0], tmp_path)
    export(model, weights, path)
    changed = onnx.load(path)
    (told,) = [entry for entry in changed.metadata_props if entry.key == "layers"]
    right = told.value
    assert "tiles: 3" in right
    back = str(tmp_path / "back.prototxt"), str(tmp_path / "back.caffemodel")
    python = 'python_param { module: \\"os\\" layer: \\"abort\\" }'
    for wrong in (
        right.replace("tiles: 3", "tiles: 2"),
        right.replace('type: \\"Tile\\"', f'type: \\"Python\\" {python}'),
        right.replace('type: \\"Tile\\"', 'type: \\"HDF5Output\\" hdf5_output_param { file_name: \\"made.h5\\" }'),
        right.replace('bottom: \\"x\\"', 'bottom: \\"y\\"'),
        right.replace('bottom: \\"x\\"', 'bottom: \\"nobody\\"'),
        "[" * 100_000,
        '[{"layer": 3}]',
        "{}",
    ):
        assert wrong != right
        told.value = wrong
        onnx.save(changed, path)
        onnx_to_caffe(path, *back, {"x": (2, 4, 6, 9)})
        assert kinds_of(back[0]) == ["Tile"]
        check(path, back)
    assert sorted(file.name for file in tmp_path.iterdir() if file.suffix == ".h5") == []


def test_a_process_of_its_own_reads_what_a_file_tells(tmp_path: Path) -> None:
    """No other part of the program has asked for the layer types before."""
    path, (model, weights) = str(tmp_path / "net.onnx"), write_net(INPUT + layer("ArgMax", "y", "x"), tmp_path)
    export(model, weights, path)
    back = str(tmp_path / "back.prototxt"), str(tmp_path / "back.caffemodel")
    command = [sys.executable, "-m", "sdcaffe", "convert", "onnx-to-caffe", path, *back]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert kinds_of(back[0]) == ["ArgMax"]


@pytest.mark.parametrize("keeps", [0, 1])
@pytest.mark.parametrize("axis", [1, 3])
def test_places_of_the_greatest_and_padding_of_another_exporter(axis: int, keeps: int, tmp_path: Path) -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4, 6, 9])
    ranks = {"place": 3 + keeps, "padded": 4}
    outputs = [helper.make_tensor_value_info(name, 1, [f"{name}{i}" for i in range(n)]) for name, n in ranks.items()]
    nodes = [
        helper.make_node("ArgMax", ["x"], ["whole"], axis=axis, keepdims=keeps),
        helper.make_node("Cast", ["whole"], ["place"], to=TensorProto.FLOAT),
        helper.make_node("Pad", ["x", "rims", "number"], ["padded"]),
    ]
    rims = numpy_helper.from_array(np.array([0, 0, 1, 2, 0, 0, 3, 0]), "rims")
    number = numpy_helper.from_array(np.array(-1.5, np.float32), "number")
    graph = helper.make_graph(nodes, "g", [x], outputs, [rims, number])
    path = str(tmp_path / "net.onnx")
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    back = str(tmp_path / "back.prototxt"), str(tmp_path / "back.caffemodel")
    onnx_to_caffe(path, *back)
    check(path, back)
