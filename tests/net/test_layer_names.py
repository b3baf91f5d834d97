"""Layers of one name, and without one. Numbers and refusals were given by BVLC Caffe 1.0 (commit 9b89154, CPU)."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

import sdcaffe
from sdcaffe import Net, Solver, proto
from sdcaffe.errors import LayerError, SharingError, WeightsError
from sdcaffe.proto.keys import layer_keys

INPUT = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }\n'


def product(name, bottom, top, weight, bias, outputs=3, more=""):
    fillers = f'weight_filler {{ type: "constant" value: {weight} }} bias_filler {{ type: "constant" value: {bias} }}'
    return (
        f'layer {{ name: "{name}" type: "InnerProduct" bottom: "{bottom}" top: "{top}" {more} '
        f"inner_product_param {{ num_output: {outputs} {fillers} }} }}\n"
    )


TWO = INPUT + product("fc", "x", "a", 1, 0.1) + product("fc", "a", "b", 2, 0.2)
OTHER = INPUT + product("fc", "x", "a", 7, 0.7) + product("fc", "a", "b", 8, 0.8)
ONE = INPUT + product("fc", "x", "a", 4, 0.4)

TRAINED = """
layer { name: "data" type: "DummyData" top: "x" top: "t" dummy_data_param { shape { dim: 4 dim: 3 }
  data_filler { type: "constant" value: 0.5 } data_filler { type: "constant" value: 0.25 } } }
layer { name: "fc" type: "InnerProduct" bottom: "x" top: "h"
  inner_product_param { num_output: 3 weight_filler { type: "constant" value: 0.3 } } }
layer { name: "act" type: "ReLU" bottom: "h" top: "h" }
layer { name: "fc" type: "InnerProduct" bottom: "h" top: "y"
  inner_product_param { num_output: 3 weight_filler { type: "constant" value: 0.2 } } }
layer { name: "act" type: "ReLU" bottom: "y" top: "y" }
layer { name: "act" type: "TanH" bottom: "y" top: "z" }
layer { name: "loss" type: "EuclideanLoss" bottom: "z" bottom: "t" top: "l2" }
layer { name: "loss" type: "SigmoidCrossEntropyLoss" bottom: "y" bottom: "t" top: "ce" loss_weight: 0.5 }
"""
SOLVER = """
net: "train.prototxt" base_lr: 0.1 lr_policy: "fixed" momentum: 0.9 max_iter: 4 display: 1
test_iter: 1 test_interval: 2 snapshot: 2 snapshot_prefix: "snap" solver_mode: CPU
"""


def text_net(text):
    message = proto.NetParameter()
    proto.text.parse(text, message, "net.prototxt")
    return message


def net_of(text, **options):
    return Net(text_net(text), sdcaffe.TEST, **options)


def firsts(net):
    """The first number of every blob, layer by layer."""
    return [round(float(array.flat[0]), 6) for arrays in net.blob_arrays().values() for array in arrays]


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        ("a b c", "a b c"),
        ("a b a a", "a b a#2 a#3"),
        ("a a#2 a a", "a a#2 a#3 a#4"),
        ("a a a#2", "a a#3 a#2"),
    ],
)
def test_each_layer_has_a_key(names, keys):
    assert layer_keys(names.split()) == keys.split()
    assert layer_keys(["", "a", "", ""]) == ["", "a", "#2", "#3"]


def test_every_layer_is_there_and_runs():
    net = net_of(TWO)
    assert list(net.layers) == ["x", "fc", "fc#2"]
    assert list(net.params) == ["fc", "fc#2"]
    assert firsts(net) == [1, 0.1, 2, 0.2]
    blobs = net.forward({"x": np.ones((2, 3), np.float32)}, keep=["a", "b"])
    np.testing.assert_allclose([blobs[name][0, 0].item() for name in "ab"], [3.1, 18.8], rtol=1e-6)


def test_a_file_has_an_entry_for_each_and_its_last_goes_into_the_first_layer(tmp_path):
    net_of(TWO).save(tmp_path / "two.caffemodel")
    entries = [(entry.name, [float(blob.flat[0]) for blob in entry.blobs]) for entry in
               proto.read_weights(tmp_path / "two.caffemodel")]  # fmt: skip
    assert [name for name, _ in entries] == ["x", "fc", "fc"]
    np.testing.assert_allclose([*entries[1][1], *entries[2][1]], [1, 0.1, 2, 0.2])
    assert firsts(net_of(OTHER, weights=tmp_path / "two.caffemodel")) == [2, 0.2, 8, 0.8]
    made = net_of(OTHER)
    made.load_weights(tmp_path / "two.caffemodel")
    assert firsts(made) == [2, 0.2, 8, 0.8]
    one = net_of(ONE)
    one.load_weights(tmp_path / "two.caffemodel")
    assert firsts(one) == [2, 0.2]


@pytest.mark.parametrize(("suffix", "found"), [("", [4, 0.4, 2, 0.2]), (".h5", [1, 0.1, 4, 0.4])])
def test_one_entry_for_two_layers_goes_into_the_first_or_from_hdf5_into_the_last(tmp_path, suffix, found):
    net_of(ONE).save(tmp_path / f"one.caffemodel{suffix}")
    assert firsts(net_of(TWO, weights=tmp_path / f"one.caffemodel{suffix}")) == found


def test_hdf5_cannot_hold_two_layers_of_one_name(tmp_path):
    with pytest.raises(WeightsError, match="HDF5 cannot hold 2 layers of one name, 'fc'"):
        net_of(TWO).save(tmp_path / "two.caffemodel.h5")
    assert not list(tmp_path.iterdir())


WIDE = INPUT + product("fc", "x", "a", 1, 0.1, outputs=5) + product("fc", "a", "b", 2, 0.2)
LATE = INPUT + 'layer { name: "l" type: "ReLU" bottom: "x" top: "a" }\n' + product("l", "a", "b", 2, 0.2)
EARLY = INPUT + product("l", "x", "a", 2, 0.2) + 'layer { name: "l" type: "ReLU" bottom: "a" top: "b" }\n'


@pytest.mark.parametrize("text", [WIDE, LATE, EARLY], ids=["another shape", "more blobs", "no blobs"])
def test_an_entry_that_the_first_layer_of_its_name_cannot_take_is_refused(tmp_path, text):
    """Also where the file is the net's own."""
    net = net_of(text)
    net.save(tmp_path / "own.caffemodel")
    with pytest.raises(WeightsError, match="another name"):
        net_of(text, weights=tmp_path / "own.caffemodel")
    with pytest.raises(WeightsError, match="another name"):
        net.load_weights(tmp_path / "own.caffemodel")


def test_layers_without_a_name_have_their_own_splits(tmp_path):
    text = (
        'layer { type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 } } }\n'
        + product("", "x", "a", 3, -1, outputs=2).replace('name: "" ', "")
        + 'layer { type: "ReLU" bottom: "a" top: "b" } layer { type: "AbsVal" bottom: "a" top: "c" }'
        + 'layer { type: "Eltwise" bottom: "b" bottom: "c" top: "d" }'
    )
    net = net_of(text)
    assert [layer.name for layer in net.layers.values()] == ["", "", "a__0_split", "", "", ""]
    assert list(net.layers) == ["", "#2", "a__0_split", "#3", "#4", "#5"]
    assert net.forward({"x": [[1, 2]]})["d"].tolist() == [[16, 16]]
    net.save(tmp_path / "w.caffemodel")
    with pytest.raises(WeightsError, match='layer "" has 0 blobs here but 2'):
        net_of(text, weights=tmp_path / "w.caffemodel")


def train(folder, monkeypatch, text=TRAINED):
    monkeypatch.chdir(folder)
    Path("train.prototxt").write_text(text)
    Path("solver.prototxt").write_text(SOLVER)
    return Solver("solver.prototxt")


def test_a_solver_trains_both_and_tests_by_the_rule_of_names(tmp_path, monkeypatch):
    solver = train(tmp_path, monkeypatch)
    losses, tests = [], []
    for i in range(5):
        if i % 2 == 0:
            solver.test_all()
            tests.append(dict(solver.test_scores[0]))
        losses.append(solver.net.forward()["ce"].item())
        solver.step(1)
    np.testing.assert_allclose(losses[:4], [2.3092, 2.27368, 2.21864, 2.16221], rtol=1e-5)
    np.testing.assert_allclose([test["ce"] for test in tests], [2.22658, 2.1868, 2.13642], rtol=1e-5)
    np.testing.assert_allclose([test["l2"] for test in tests], [0.00775854, 0.020411, 0.046912], rtol=1e-5)


def test_a_resumed_run_ends_as_one_that_was_not_stopped(tmp_path, monkeypatch):
    """Here alone: what Caffe restores by name, it restores into the first layer of a name."""
    whole = train(tmp_path, monkeypatch)
    whole.solve()
    resumed = Solver("solver.prototxt")
    resumed.restore("snap_iter_2.solverstate")
    resumed.solve()
    for a, b in zip(whole.net.parameters(), resumed.net.parameters(), strict=True):
        assert a.equal(b)
    assert resumed.test_scores == whole.test_scores


def test_a_test_net_that_cannot_share_fails_its_first_test_alone(tmp_path, monkeypatch):
    text = TRAINED.replace(
        '"fc" type: "InnerProduct" bottom: "x" top: "h"', '"act" type: "InnerProduct" bottom: "x" top: "h"'
    )
    solver = train(tmp_path, monkeypatch, text)
    assert len(solver.test_nets) == 1
    with pytest.raises(SharingError, match=r'train.prototxt:4:1: layer "act" .*2 blobs here but 0 in the net'):
        solver.step(1)
    with pytest.raises(SharingError, match="2 blobs here but 0 in the net it shares them with"):
        Net(text_net(text), sdcaffe.TEST, share=solver.net)


def test_an_error_shows_the_line_of_the_very_layer(tmp_path):
    path = tmp_path / "net.prototxt"
    data = 'layer {{ name: "d" type: "DummyData" top: "x" dummy_data_param {{ {0} }} include {{ phase: {1} }} }}\n'
    relu = 'layer { name: "d" type: "ReLU" bottom: "x" top: "y" }\n'
    path.write_text(data.format("shape { dim: 2 }", "TRAIN") + data.format("num: 2", "TEST") + relu)
    assert Net(path, sdcaffe.TRAIN).forward()["y"].shape == (2,)
    with pytest.raises(LayerError) as caught:
        Net(path, sdcaffe.TEST)
    assert str(caught.value.where).startswith(f"{path}:2:")


def test_layers_of_one_name_that_share_a_parameter(tmp_path):
    """The second of a test net keeps what both were filled with: by the first one, which owns the parameter."""
    named = 'param { name: "w" } param { name: "b" }'
    text = INPUT + product("fc", "x", "a", 1, 0.1, more=named) + product("fc", "a", "b", 2, 0.2, more=named)
    train = net_of(text)
    assert len(train.learnable) == 2
    with torch.no_grad():
        for item, value in zip(train.learnable, (5, 0.5), strict=True):
            item.tensor.fill_(value)
    assert firsts(train) == [5, 0.5, 5, 0.5]
    assert firsts(net_of(text, share=train)) == [5, 0.5, 1, 0.1]
    train.save(tmp_path / "w.caffemodel")
    assert firsts(net_of(text, weights=tmp_path / "w.caffemodel")) == [5, 0.5, 5, 0.5]


def test_hdf5_may_lack_any_blob_that_another_layer_owns(tmp_path):
    bias = 'param { } param { name: "b" }'
    text = INPUT + product("one", "x", "a", 1, 0.1, more=bias) + product("two", "a", "b", 2, 0.1, more=bias)
    net_of(text).save(tmp_path / "w.caffemodel.h5")
    with h5py.File(tmp_path / "w.caffemodel.h5") as file:
        assert {name: list(file["data"][name]) for name in ("one", "two")} == {"one": ["0", "1"], "two": ["0"]}
    other = INPUT + product("one", "x", "a", 7, 0.7, more=bias) + product("two", "a", "b", 8, 0.7, more=bias)
    assert firsts(net_of(other, weights=tmp_path / "w.caffemodel.h5")) == [1, 0.1, 2, 0.1]
    apart = INPUT + product("one", "x", "a", 7, 0.7) + product("two", "a", "b", 8, 0.8)
    with pytest.raises(WeightsError, match='layer "two" has 2 blobs here but 1'):
        net_of(apart, weights=tmp_path / "w.caffemodel.h5")


def test_a_run_resumes_where_no_file_of_its_own_could_be_loaded(tmp_path, monkeypatch):
    """By name the second layer's blobs would go into the first, which has other shapes."""
    text = TRAINED.replace("num_output: 3", "num_output: 5", 1)
    whole = train(tmp_path, monkeypatch, text)
    with pytest.raises(SharingError):
        whole.test_all()
    Path("solver.prototxt").write_text(SOLVER.replace("test_iter: 1 test_interval: 2", ""))
    whole = Solver("solver.prototxt")
    whole.solve()
    resumed = Solver("solver.prototxt")
    resumed.restore("snap_iter_2.solverstate")
    assert resumed.iter == 2
    resumed.solve()
    for a, b in zip(whole.net.parameters(), resumed.net.parameters(), strict=True):
        assert a.equal(b)
    with pytest.raises(WeightsError, match="another name"):
        Solver("solver.prototxt", weights="snap_iter_4.caffemodel")
