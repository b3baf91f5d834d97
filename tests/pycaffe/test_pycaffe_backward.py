"""pycaffe's backward: what it writes, what it adds to, where it goes, by Caffe's rules."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pycaffe_nets import input_layer, layer, net_of, normal, product

from sdcaffe.errors import LayerError
from sdcaffe.pycaffe import mode

CHAIN = input_layer("data", 2, 3) + product("a", "data", 4) + product("b", "a", 2)
FORCED = "force_backward: true\n" + CHAIN


def ran(folder, text, **inputs):
    net = net_of(folder, text)
    net.forward(**(inputs or {"data": normal(2, 3)}))
    return net


def as64(blob):
    return blob.astype(np.float64)


def test_backward_starts_from_the_diffs_that_a_script_writes(tmp_path):
    net, seed = ran(tmp_path, FORCED), normal(2, 2, seed=1)
    net.blobs["b"].diff[...] = seed
    out = net.backward(diffs=["a"])
    down = seed @ as64(net.params["b"][0].data)
    np.testing.assert_allclose(out["a"], down, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(out["data"], down @ net.params["a"][0].data, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(net.params["b"][0].diff, seed.T @ as64(net.blobs["a"].data), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(net.params["b"][1].diff, seed.sum(0), rtol=1e-5)
    assert np.shares_memory(out["data"], net.blobs["data"].diff)


def test_diffs_of_outputs_can_be_given_by_name(tmp_path):
    net, seed = ran(tmp_path, FORCED), normal(2, 2, seed=1)
    down = net.backward(b=seed)["data"].copy()
    net.blobs["b"].diff[...] = 0
    np.testing.assert_array_equal(net.backward(b=seed)["data"], down)
    with pytest.raises(LayerError, match="has the outputs b; given: a"):
        net.backward(a=seed)


def test_diffs_of_weights_add_up_and_those_of_blobs_do_not(tmp_path):
    net, seed = ran(tmp_path, FORCED), normal(2, 2, seed=1)
    net.backward(b=seed)
    once, data = net.params["a"][0].diff.copy(), net.blobs["data"].diff.copy()
    net.backward(b=seed)
    np.testing.assert_allclose(net.params["a"][0].diff, 2 * once, rtol=1e-6)
    np.testing.assert_array_equal(net.blobs["data"].diff, data)
    net.clear_param_diffs()
    assert not net.params["a"][0].diff.any()


def test_backward_between_layers(tmp_path):
    net, seed = ran(tmp_path, FORCED), normal(2, 2, seed=1)
    net.blobs["b"].diff[...] = seed
    assert list(net.backward(end="b")) == ["a"]
    assert not net.blobs["data"].diff.any()
    net.blobs["a"].diff[...] = 1
    net.backward(start="a")
    np.testing.assert_allclose(net.params["a"][1].diff, [2, 2, 2, 2])


def test_backward_through_a_layer_in_place_goes_on_in_its_one_diff(tmp_path):
    net, seed = ran(tmp_path, FORCED + layer("tanh", "TanH", "b", "b")), normal(2, 2, seed=1)
    top = as64(net.blobs["b"].data)
    net.blobs["b"].diff[...] = seed
    net.backward(end="tanh")
    np.testing.assert_allclose(net.blobs["b"].diff, seed * (1 - top**2), rtol=1e-5, atol=1e-6)


def test_diffs_of_a_splits_tops_add_up(tmp_path):
    net = ran(tmp_path, FORCED + product("c", "a", 2))
    net.blobs["b"].diff[...], net.blobs["c"].diff[...] = 1, 2
    net.backward()
    want = as64(net.params["b"][0].data).sum(0) + 2 * as64(net.params["c"][0].data).sum(0)
    np.testing.assert_allclose(net.blobs["a"].diff, [want] * 2, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(net.blobs["a_a_0_split_0"].diff, [as64(net.params["b"][0].data).sum(0)] * 2, rtol=1e-5)


def test_a_parameter_layers_top_has_the_blobs_data_and_diff(tmp_path):
    text = "force_backward: true\n" + layer("p", "Parameter", "", "p", "parameter_param { shape { dim: 2 dim: 3 } }")
    net = net_of(tmp_path, text + product("a", "p", 4))
    net.params["p"][0].data[...] = normal(2, 3)
    net.forward()
    assert np.shares_memory(net.blobs["p"].data, net.params["p"][0].data)
    net.backward(a=np.ones((2, 4)))
    want = as64(net.params["a"][0].data).sum(0)
    np.testing.assert_allclose(net.params["p"][0].diff, [want] * 2, rtol=1e-5, atol=1e-6)


def test_without_a_loss_or_force_backward_nothing_is_computed(tmp_path):
    net = ran(tmp_path, CHAIN)
    net.backward(b=np.ones((2, 2)))
    assert not net.params["b"][0].diff.any()


def test_under_a_loss_backward_stops_where_nothing_can_be_learned(tmp_path):
    text = input_layer("data", 2, 3) + input_layer("label", 2)
    text += layer("sig", "Sigmoid", "data", "sig") + product("a", "sig", 4)
    text += product("other", "a", 2) + layer("loss", "SoftmaxWithLoss", "a label", "loss")
    net = ran(tmp_path, text, data=normal(2, 3), label=np.array([1, 3]))
    net.backward()
    assert net.params["a"][0].diff.any()
    for blob in ("sig", "data", "other", "label"):  # below nothing learnable; beside the loss
        assert not net.blobs[blob].diff.any(), blob
    assert not net.params["other"][0].diff.any()


def test_propagate_down_cuts_and_lr_mult_0_leaves_a_blob_out(tmp_path):
    text = input_layer("data", 2, 3) + input_layer("label", 2)
    text += product("a", "data", 4) + product("b", "a", 4, "propagate_down: false param { lr_mult: 0 }")
    text += layer("loss", "SoftmaxWithLoss", "b label", "loss")
    net = ran(tmp_path, text, data=normal(2, 3), label=np.array([1, 3]))
    net.backward()
    assert not net.params["b"][0].diff.any()  # lr_mult 0
    assert net.params["b"][1].diff.any()
    assert not net.blobs["a"].diff.any()
    assert not net.params["a"][0].diff.any()
    forced = ran(tmp_path, "force_backward: true\n" + text, data=normal(2, 3), label=np.array([1, 3]))
    forced.backward()
    assert forced.params["b"][0].diff.any()
    assert forced.blobs["data"].diff.any()
    assert not forced.blobs["label"].diff.any()


def test_a_loss_takes_the_diff_that_a_script_writes_over_its_weight(tmp_path):
    text = "force_backward: true\n" + input_layer("data", 2, 3) + input_layer("target", 2, 3)
    text += layer("loss", "EuclideanLoss", "data target", "loss")
    net = ran(tmp_path, text, data=normal(2, 3), target=normal(2, 3, seed=1))
    difference = (as64(net.blobs["data"].data) - net.blobs["target"].data) / 2
    net.backward()
    np.testing.assert_allclose(net.blobs["data"].diff, difference, rtol=1e-5)
    net.blobs["loss"].diff[...] = 3
    net.backward()
    np.testing.assert_allclose(net.blobs["data"].diff, 3 * difference, rtol=1e-5)
    np.testing.assert_allclose(net.blobs["target"].diff, -3 * difference, rtol=1e-5)


def test_the_statistics_of_batch_norm_get_no_diff(tmp_path):
    net = ran(tmp_path, FORCED + layer("bn", "BatchNorm", "b", "bn"))
    net.backward(bn=normal(2, 2))
    assert net.params["bn"][2].data == 1  # one pass was counted
    assert not any(blob.diff.any() for blob in net.params["bn"])


def test_forward_backward_all_runs_any_number_of_items(tmp_path):
    net, x, seed = net_of(tmp_path, FORCED), normal(5, 3), normal(5, 2, seed=1)
    outs, diffs = net.forward_backward_all(data=x, b=seed, blobs=["a"], diffs=["a"])
    hidden = x @ as64(net.params["a"][0].data).T + net.params["a"][1].data
    np.testing.assert_allclose(outs["a"], hidden, rtol=1e-5, atol=1e-6)
    down = seed @ as64(net.params["b"][0].data)
    np.testing.assert_allclose(diffs["a"], down, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(diffs["data"], down @ net.params["a"][0].data, rtol=1e-5, atol=1e-6)
    assert outs["b"].shape == (5, 2)
    with pytest.raises(LayerError, match="no input or output wrong"):
        net.forward_backward_all(wrong=x)
    with pytest.raises(LayerError, match="of one length"):
        net.forward_backward_all(data=x, b=seed[:4])


def test_another_device_than_the_blobs_gives_the_same_numbers_and_states(tmp_path, monkeypatch):
    """cpu:0 stands in for a GPU: torch copies what goes there and what comes back."""
    text = (
        "force_backward: true\n"
        + input_layer("data", 4, 2, 3)
        + input_layer("cont", 4, 2)
        + layer("bn", "BatchNorm", "data", "bn")
        + layer("lstm", "LSTM", "bn cont", "lstm", 'recurrent_param { num_output: 3 weight_filler { type: "xavier" } }')
        + layer("relu", "ReLU", "lstm", "lstm")
    )
    x, seed = normal(4, 2, 3), normal(4, 2, 3, seed=1)
    nets = [net_of(tmp_path, text) for _ in range(2)]
    for mine, theirs in zip(nets[1].params["lstm"], nets[0].params["lstm"], strict=True):
        mine.data[...] = theirs.data
    for net, device in zip(nets, (torch.device("cpu"), torch.device("cpu", 0)), strict=True):
        monkeypatch.setattr(mode, "device", lambda device=device: device)
        for _ in range(2):  # the second pass goes on from the state of the first
            net.forward(data=x, cont=np.ones((4, 2)))
            net.backward(lstm=seed)
    for name, blob in nets[0].blobs.items():
        np.testing.assert_allclose(nets[1].blobs[name].data, blob.data, rtol=1e-6, atol=1e-7, err_msg=name)
        np.testing.assert_allclose(nets[1].blobs[name].diff, blob.diff, rtol=1e-5, atol=1e-6, err_msg=name)
    assert nets[0].params["bn"][2].data > 1  # two passes were counted
    for name, blobs in nets[0].params.items():
        for mine, theirs in zip(nets[1].params[name], blobs, strict=True):
            np.testing.assert_allclose(mine.data, theirs.data, rtol=1e-6, err_msg=name)
            np.testing.assert_allclose(mine.diff, theirs.diff, rtol=1e-4, atol=1e-6, err_msg=name)
