"""pycaffe's Net: blobs that keep what is written into them, and passes from layer to layer, as Caffe runs them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from pycaffe_nets import PLAIN, input_layer, layer, net_of, normal, product

from sdcaffe import pycaffe as caffe
from sdcaffe.errors import GraphError, LayerError, PrototxtError, WeightsError

LOSS = (
    "force_backward: true\n"
    + input_layer("data", 2, 3)
    + input_layer("target", 2, 4)
    + product("ip", "data", 4)
    + layer("loss", "EuclideanLoss", "ip target", "loss")
)


def weights(net):
    return [blob.data.astype(np.float64) for blob in net.params["ip"]]


# ---------------------------------------------------------------- what a net holds


def test_names_of_layers_blobs_and_what_lies_between(tmp_path):
    text = PLAIN + product("a", "ip", 2) + product("b", "ip", 2) + layer("s", "Softmax", "a", "s")
    net = net_of(tmp_path, 'name: "n"\n' + text, caffe.TEST)
    assert net.name == "n"
    assert list(net._layer_names) == ["data", "ip", "relu", "ip_relu_0_split", "a", "b", "s"]
    assert [found.type for found in net.layers] == [
        "Input", "InnerProduct", "ReLU", "Split", "InnerProduct", "InnerProduct", "Softmax",
    ]  # fmt: skip
    assert all(isinstance(found, caffe.Layer) for found in net.layers)
    assert list(net.blobs) == ["data", "ip", "ip_relu_0_split_0", "ip_relu_0_split_1", "a", "b", "s"]
    assert (net.inputs, net.outputs) == (["data"], ["b", "s"])
    assert (net._inputs, net._outputs) == ([0], [5, 6])
    assert list(net.params) == ["ip", "a", "b"]
    assert net.bottom_names["a"] == ["ip_relu_0_split_0"]
    assert net.top_names["ip_relu_0_split"] == ["ip_relu_0_split_0", "ip_relu_0_split_1"]
    assert (net._bottom_ids(3), net._top_ids(3)) == ([1], [2, 3])
    assert list(net.layer_dict) == list(net._layer_names)
    assert net.layer_dict["ip"].blobs[0] is net.params["ip"][0]
    assert [len(found.blobs) for found in net.layers] == [0, 2, 0, 0, 2, 2, 0]


def test_loss_weights_by_blob_and_the_diff_that_holds_them(tmp_path):
    net = net_of(tmp_path, LOSS.replace('top: "loss"', 'top: "loss" loss_weight: 0.25'))
    assert net.blob_loss_weights == {"data": 0, "target": 0, "ip": 0, "loss": 0.25}
    assert net.blobs["loss"].diff == 0.25
    net.blobs["data"].data[...], net.blobs["target"].data[...] = normal(2, 3), normal(2, 4)
    loss = net._forward(0, 3)
    assert loss == pytest.approx(0.25 * float(net.blobs["loss"].data), rel=1e-6)


def test_level_stages_weights_and_the_old_constructor(tmp_path):
    stage = 'include { stage: "deploy" min_level: 2 }'
    text = PLAIN + layer("sig", "Sigmoid", "ip", "sig", stage)
    assert "sig" not in net_of(tmp_path, text).blobs
    net = net_of(tmp_path, text, caffe.TEST, level=2, stages=["deploy"])
    assert net.outputs == ["sig"]
    net.save(str(tmp_path / "a.caffemodel"))
    file, trained = str(tmp_path / "net.prototxt"), str(tmp_path / "a.caffemodel")
    for other in (caffe.Net(file, caffe.TEST, weights=trained), caffe.Net(file, trained, caffe.TEST)):
        np.testing.assert_array_equal(other.params["ip"][0].data, net.params["ip"][0].data)


def test_the_old_constructor_needs_a_phase(tmp_path):
    net_of(tmp_path, PLAIN).save(str(tmp_path / "a.caffemodel"))
    file, trained = str(tmp_path / "net.prototxt"), str(tmp_path / "a.caffemodel")
    with pytest.raises(GraphError, match=r'a.caffemodel"\) has no phase; add caffe.TEST or caffe.TRAIN'):
        caffe.Net(file, trained)


def test_a_missing_prototxt_or_weight_file_is_named(tmp_path):
    with pytest.raises(PrototxtError, match=r"no\.prototxt"):
        caffe.Net(str(tmp_path / "no.prototxt"), caffe.TEST)
    with pytest.raises(WeightsError, match=r"no\.caffemodel"):
        net_of(tmp_path, PLAIN, weights=str(tmp_path / "no.caffemodel"))


# ---------------------------------------------------------------- forward


def test_forward_takes_inputs_and_gives_views_of_outputs(tmp_path):
    net, x = net_of(tmp_path, PLAIN, caffe.TEST), normal(2, 3)
    out = net.forward(data=x.astype(np.float64), blobs=["data"])
    weight, bias = weights(net)
    assert list(out) == ["ip", "data"]
    np.testing.assert_allclose(out["ip"], np.maximum(x @ weight.T + bias, 0), rtol=1e-5, atol=1e-6)
    assert np.shares_memory(out["ip"], net.blobs["ip"].data)


def test_forward_between_layers_leaves_the_rest(tmp_path):
    net = net_of(tmp_path, PLAIN, caffe.TEST)
    net.blobs["data"].data[...] = normal(2, 3)
    assert list(net.forward(end="ip")) == ["ip"]
    before = net.blobs["ip"].data.copy()
    assert before.min() < 0
    net.blobs["data"].data[...] = 0
    net.forward(start="relu")
    np.testing.assert_array_equal(net.blobs["ip"].data, np.maximum(before, 0))


def test_layers_in_place_and_scripts_write_into_one_blob(tmp_path):
    net = net_of(tmp_path, PLAIN, caffe.TEST)
    net.forward(data=normal(2, 3))
    kept = net.blobs["ip"].data
    kept[...] = [[-1, 2, -3, 4], [5, -6, 7, -8]]
    net.forward(start="relu")
    np.testing.assert_array_equal(kept, [[0, 2, 0, 4], [5, 0, 7, 0]])


def test_tops_of_a_split_flatten_or_reshape_are_their_bottoms_memory(tmp_path):
    text = input_layer("data", 2, 3) + product("a", "data", 1) + product("b", "data", 1)
    text += layer("flat", "Flatten", "a", "flat")
    text += layer("shape", "Reshape", "b", "r", "reshape_param { shape { dim: -1 } }")
    net = net_of(tmp_path, text, caffe.TEST)
    net.forward(data=normal(2, 3))
    net.blobs["data"].data[...] = 7
    assert (net.blobs["data_data_0_split_0"].data == 7).all()
    net.forward(start="a")  # after the split: its tops see what was written
    seven = 7 * net.params["a"][0].data.sum()
    np.testing.assert_allclose(net.blobs["flat"].data, [[seven]] * 2, rtol=1e-5)
    net.blobs["flat"].data[...] = 3
    net.blobs["r"].diff[...] = 4
    assert (net.blobs["a"].data == 3).all()
    assert (net.blobs["b"].diff == 4).all()


def test_dropout_of_a_test_net_is_a_copy(tmp_path):
    net = net_of(tmp_path, input_layer("data", 2, 3) + layer("drop", "Dropout", "data", "drop"), caffe.TEST)
    net.forward(data=normal(2, 3))
    net.blobs["data"].data[...] = 7
    np.testing.assert_array_equal(net.blobs["drop"].data, normal(2, 3))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"image": np.zeros((2, 3))}, "has the inputs data; given: image"),
        ({"data": np.zeros((3, 3))}, r"not batch sized: its shape is \(2, 3\), given: \(3, 3\)"),
        ({"data": np.zeros((2, 4))}, r"has shape \(2, 3\), given: \(2, 4\)"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(tmp_path, given, message):
    with pytest.raises(LayerError, match=message):
        net_of(tmp_path, PLAIN, caffe.TEST).forward(**given)


def test_names_and_numbers_of_layers_that_do_not_exist_are_refused(tmp_path):
    net = net_of(tmp_path, PLAIN, caffe.TEST)
    with pytest.raises(GraphError, match='no layer "no"; it has data, ip, relu'):
        net.forward(start="no")
    with pytest.raises(GraphError, match='no blob "no"'):
        net.forward(blobs=["no"])
    with pytest.raises(GraphError, match="layers 0 to 2"):
        net._forward(0, 3)


def test_forward_all_runs_any_number_of_items_in_batches(tmp_path):
    net, x = net_of(tmp_path, PLAIN, caffe.TEST), normal(5, 3)
    out = net.forward_all(data=x, blobs=["data"])
    weight, bias = weights(net)
    np.testing.assert_allclose(out["ip"], np.maximum(x @ weight.T + bias, 0), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(out["data"], x)
    with pytest.raises(LayerError, match="name=array"):
        net.forward_all()


def test_a_reshaped_input_reshapes_what_follows(tmp_path):
    text = input_layer("data", 1, 2, 4, 4) + layer(
        "pool", "Pooling", "data", "pool", "pooling_param { pool: MAX kernel_size: 2 stride: 2 }"
    )
    net = net_of(tmp_path, text, caffe.TEST)
    net.blobs["data"].reshape(3, 2, 6, 8)
    net.reshape()
    assert net.blobs["pool"].shape == (3, 2, 3, 4)
    net.blobs["data"].reshape(2, 2, 8, 4)  # forward reshapes by itself
    x = normal(2, 2, 8, 4)
    want = x.reshape(2, 2, 4, 2, 2, 2).max((3, 5))
    np.testing.assert_array_equal(net.forward(data=x)["pool"], want)


def test_a_filter_gives_its_top_the_number_of_items_it_selects(tmp_path):
    text = input_layer("data", 3, 2) + input_layer("pick", 3, 1) + layer("f", "Filter", "data pick", "some")
    net, x = net_of(tmp_path, text + layer("sig", "Sigmoid", "some", "sig"), caffe.TEST), normal(3, 2)
    out = net.forward(data=x, pick=np.array([[1], [0], [1]]))
    np.testing.assert_allclose(out["sig"], 1 / (1 + np.exp(-x[[0, 2]].astype(np.float64))), rtol=1e-5)


def test_memory_data_takes_arrays(tmp_path):
    body = "memory_data_param { batch_size: 2 channels: 3 height: 1 width: 2 }"
    net = net_of(tmp_path, layer("data", "MemoryData", "", "data label", body), caffe.TEST)
    images, labels = normal(4, 3, 1, 2), np.arange(4, dtype=np.float32)
    net.set_input_arrays(images, labels)
    np.testing.assert_array_equal(net.forward()["data"], images[:2])
    np.testing.assert_array_equal(net.forward()["label"], labels[2:])
    with pytest.raises(RuntimeError, match="multiple"):
        net.set_input_arrays(images[:3], labels[:3])
    with pytest.raises(LayerError, match="first layer is MemoryData"):
        net_of(tmp_path, PLAIN).set_input_arrays(images, labels)


def test_callbacks_get_the_numbers_of_layers(tmp_path):
    net, seen = net_of(tmp_path, LOSS), []
    net.before_forward(lambda i: seen.append(("before", i)))
    net.after_forward(lambda i: seen.append(("after", i)))
    net.before_backward(lambda i: seen.append(("back", i)))
    net.after_backward(lambda i: seen.append(("done", i)))
    net._forward(2, 3)
    net._backward(3, 3)
    assert seen == [("before", 2), ("after", 2), ("before", 3), ("after", 3), ("back", 3), ("done", 3)]


# ---------------------------------------------------------------- weights


def test_weights_are_memory_that_a_script_writes_into(tmp_path):
    net = net_of(tmp_path, PLAIN, caffe.TEST)
    net.params["ip"][0].data[...] = 0
    net.params["ip"][1].data[:] = [1, -1, 2, -2]
    np.testing.assert_array_equal(net.forward(data=normal(2, 3))["ip"], [[1, 0, 2, 0]] * 2)


def test_weights_of_four_axes_lie_in_caffes_order(tmp_path):
    body = 'convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } }'
    net = net_of(tmp_path, input_layer("data", 1, 2, 5, 5) + layer("conv", "Convolution", "data", "conv", body))
    weight = net.params["conv"][0].data
    assert weight.flags.c_contiguous
    net.params["conv"][0].data.flat = np.arange(72)
    assert weight[1, 0, 0, 0] == 18
    net.save(str(tmp_path / "a.caffemodel"))
    saved = caffe.proto.caffe_pb2.NetParameter.FromString((tmp_path / "a.caffemodel").read_bytes())
    assert list(saved.layer[1].blobs[0].data) == list(range(72))


@pytest.mark.parametrize("write", ["save", "save_hdf5"])
def test_saved_weights_come_back(tmp_path, write):
    net, other = net_of(tmp_path, PLAIN), net_of(tmp_path, PLAIN)
    getattr(net, write)(str(tmp_path / "weights"))
    view = other.params["ip"][0].data
    (other.copy_from if write == "save" else other.load_hdf5)(str(tmp_path / "weights"))
    np.testing.assert_array_equal(view, net.params["ip"][0].data)


def test_the_method_says_the_form_of_a_file_and_not_its_name(tmp_path):
    """As in BVLC Caffe 1.0, where load_hdf5 of a .caffemodel ends the process."""
    net, other = net_of(tmp_path, PLAIN), net_of(tmp_path, PLAIN)
    net.save(str(tmp_path / "a.h5"))
    net.save_hdf5(str(tmp_path / "a.caffemodel"))
    assert not h5py.is_hdf5(tmp_path / "a.h5")
    other.load_hdf5(str(tmp_path / "a.caffemodel"))
    np.testing.assert_array_equal(other.params["ip"][0].data, net.params["ip"][0].data)
    with pytest.raises(WeightsError, match="no HDF5 file"):
        other.load_hdf5(str(tmp_path / "a.h5"))


def test_hdf5_holds_diffs_where_asked_for(tmp_path):
    net = net_of(tmp_path, PLAIN)
    net.params["ip"][1].diff[...] = [1, 2, 3, 4]
    net.save_hdf5(str(tmp_path / "a.h5"), write_diff=True)
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file["diff/ip/1"], [1, 2, 3, 4])
        np.testing.assert_array_equal(file["data/ip/0"], net.params["ip"][0].data)


def test_weights_recorded_of_caffe_load(tmp_path):
    files = Path(__file__).parents[1] / "goldens" / "training" / "sgd_fixed"
    text = (files / "net.prototxt").read_text().replace("train.txt", str(tmp_path / "train.txt"))
    (tmp_path / "train.txt").write_text(f"{files / 'train.h5'}\n")
    net = net_of(tmp_path, text, weights=str(files / "final.caffemodel"))
    trace = np.load(files / "trace.npz")
    for name, blobs in net.params.items():
        for i, blob in enumerate(blobs):
            np.testing.assert_array_equal(blob.data, trace[f"{name}_{i}"])


def test_share_with_shares_the_weights_and_not_their_diffs(tmp_path):
    net, other = net_of(tmp_path, PLAIN), net_of(tmp_path, PLAIN + product("more", "ip", 2))
    other.share_with(net)
    net.params["ip"][0].data[...] = 2
    assert (other.params["ip"][0].data == 2).all()
    assert not np.shares_memory(other.params["ip"][0].diff, net.params["ip"][0].diff)
    assert other.forward(data=np.ones((2, 3)), blobs=["ip"])["ip"].max() == 6
    with pytest.raises(GraphError, match='layer "ip" cannot share'):
        net_of(tmp_path, input_layer("data", 2, 3) + product("ip", "data", 5)).share_with(net)


def test_layers_that_share_a_parameter_share_data_and_diff(tmp_path):
    spec = 'param { name: "w" } param { name: "b" }'
    text = "force_backward: true\n" + input_layer("data", 2, 3)
    text += product("a", "data", 3, spec) + product("b", "a", 3, spec)
    net, x, seed = net_of(tmp_path, text), normal(2, 3), normal(2, 3, seed=1)
    net.forward(data=x)
    net.blobs["b"].diff[...] = seed
    net.backward()
    weight, hidden = net.params["a"][0].data.astype(np.float64), net.blobs["a"].data.astype(np.float64)
    assert net.params["b"][0].data is not net.params["a"][0].data
    assert np.shares_memory(net.params["b"][0].data, net.params["a"][0].data)
    want = seed.T @ hidden + (seed @ weight).T @ x
    np.testing.assert_allclose(net.params["a"][0].diff, want, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(net.params["b"][0].diff, net.params["a"][0].diff)


def test_permissive_sharing_sees_one_memory_in_two_shapes(tmp_path):
    spec = 'param { name: "w" share_mode: PERMISSIVE }'
    text = input_layer("data", 2, 3) + product("a", "data", 4, spec) + product("b", "a", 3, spec)
    net = net_of(tmp_path, text, caffe.TEST)
    net.params["a"][0].data.flat = np.arange(12)
    np.testing.assert_array_equal(net.params["b"][0].data, np.arange(12).reshape(3, 4))
    x = normal(2, 3)
    want = x.astype(np.float64) @ np.arange(12).reshape(4, 3).T @ np.arange(12).reshape(3, 4).T
    np.testing.assert_allclose(net.forward(data=x)["b"], want, rtol=1e-5, atol=1e-4)


def test_a_test_net_scores_batches_as_caffes_log_says(tmp_path, monkeypatch):
    files = Path(__file__).parents[1] / "goldens" / "files"
    logged = re.findall(r"Batch \d, (\w+) = (\S+)", (files / "caffe_test.log").read_text())
    for name in ("net.prototxt", "mean.binaryproto", "tiny_iter_30.caffemodel"):
        shutil.copy(files / name, tmp_path)
    shutil.copytree(files / "lmdb_raw", tmp_path / "lmdb_raw")
    monkeypatch.chdir(tmp_path)
    net = caffe.Net("net.prototxt", caffe.TEST, weights="tiny_iter_30.caffemodel")
    assert len(logged) == 2 * 3
    for name, value in logged:
        if name == net.outputs[0]:
            net.forward()
        np.testing.assert_allclose(net.blobs[name].data, float(value), rtol=1e-5)


# ---------------------------------------------------------------- a file name is one name, whatever is in it
