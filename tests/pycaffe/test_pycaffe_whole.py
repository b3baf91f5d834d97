"""A script's net in the test phase from its third pass on, when several layers run as one: nothing else may change."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import torch
from pycaffe_nets import input_layer, layer, net_of, normal, product
from torch.nn import functional as F

from sdcaffe import pycaffe as caffe
from sdcaffe.pycaffe.stepwise import StepwiseNet

CONV = 'convolution_param { num_output: 4 kernel_size: 3 pad: 1 weight_filler { type: "msra" } }'
BODY = (
    layer("conv", "Convolution", "data", "conv", CONV)
    + layer("bn", "BatchNorm", "conv", "conv")
    + layer("scale", "Scale", "conv", "conv", "scale_param { bias_term: true }")
    + layer("relu", "ReLU", "conv", "conv")
    + layer("conv2", "Convolution", "conv", "conv2", CONV)
    + layer("bn2", "BatchNorm", "conv2", "bn2")
    + layer("scale2", "Scale", "bn2", "bn2", "scale_param { bias_term: true }")
    + layer("sum", "Eltwise", "conv bn2", "sum")
    + layer("relu2", "ReLU", "sum", "sum")
    + layer("drop", "Dropout", "sum", "sum")
    + layer("flat", "Flatten", "sum", "flat")
    + product("fc", "flat", 5)
    + layer("prob", "Softmax", "fc", "prob")
)
NET = input_layer("data", 2, 3, 6, 5) + BODY


@pytest.fixture
def by_layers(monkeypatch):
    """The passes that ran a layer at a time."""
    passes, run = [], StepwiseNet.run_layers

    def counted(net, start, end):
        passes.append((start, end))
        return run(net, start, end)

    monkeypatch.setattr(StepwiseNet, "run_layers", counted)
    return passes


def settle_weights(net):
    """Weights, and statistics, of their own."""
    for i, blobs in enumerate(net.params.values()):
        for j, blob in enumerate(blobs):
            blob.data[...] = np.abs(normal(*blob.shape, seed=10 * i + j)) * (0.3 if blob.data.ndim > 1 else 1) + 0.1


def settle(net):
    """Two passes, after which it runs whole."""
    settle_weights(net)
    for seed in range(2):
        net.forward(data=normal(*net.blobs["data"].shape, seed=seed))


def expected(net, data):
    """The blobs of NET by torch in float64, from the arrays that the script sees."""
    blob = {name: [torch.from_numpy(b.data.astype(np.float64)) for b in blobs] for name, blobs in net.params.items()}

    def normed(x, norm, scale):
        mean, variance, weight = blob[norm]
        return F.batch_norm(x, mean / weight, variance / weight, *blob[scale], eps=1e-5)

    found = {"data": torch.from_numpy(data.astype(np.float64))}
    found["conv"] = normed(F.conv2d(found["data"], *blob["conv"], padding=1), "bn", "scale").relu()
    found["conv2"] = F.conv2d(found["conv"], *blob["conv2"], padding=1)
    found["bn2"] = normed(found["conv2"], "bn2", "scale2")
    found["sum"] = (found["conv"] + found["bn2"]).relu()
    found["flat"] = found["sum"].flatten(1)
    found["fc"] = F.linear(found["flat"], *blob["fc"])
    found["prob"] = found["fc"].softmax(1)
    return {name: tensor.numpy() for name, tensor in found.items()}


def check(net, data):
    wanted = expected(net, data)
    for name, values in wanted.items():
        np.testing.assert_allclose(net.blobs[name].data, values, rtol=0, atol=1e-5 * np.abs(values).max(), err_msg=name)


def test_all_blobs_of_each_pass_are_as_torch_has_them(tmp_path, by_layers):
    net = net_of(tmp_path, NET, caffe.TEST)
    settle(net)
    seen = {name: blob.data for name, blob in net.blobs.items()}
    assert len(by_layers) == 2
    for seed in range(5, 8):
        data = normal(2, 3, 6, 5, seed=seed)
        assert set(net.forward(data=data)) == {"prob"}
        check(net, data)
    assert len(by_layers) == 2
    for name, array in seen.items():  # those that the script has held
        assert np.shares_memory(array, net.blobs[name].data)
        assert np.array_equal(array, net.blobs[name].data)


def test_weights_are_read_in_each_pass(tmp_path, by_layers):
    net = net_of(tmp_path, NET, caffe.TEST)
    settle(net)
    data = normal(2, 3, 6, 5, seed=3)
    for name, blobs in net.params.items():
        for blob in blobs:
            blob.data[...] *= 1.5
            net.forward(data=data)
            check(net, data)
        assert blobs, name
    other = net_of(tmp_path, NET, caffe.TEST)
    settle(other)
    other.params["conv"][0].data[...] = normal(4, 3, 3, 3, seed=9)
    net.share_with(other)
    net.forward(data=data)
    check(net, data)
    other.params["fc"][1].data[...] = 7
    net.forward(data=data)
    check(net, data)
    assert np.all(net.params["fc"][1].data == 7)
    assert len(by_layers) == 4


def test_a_weight_that_gets_other_memory(tmp_path):
    net = net_of(tmp_path, NET, caffe.TEST)
    settle(net)
    data, bias = normal(2, 3, 6, 5, seed=3), net.params["fc"][1]
    bias.reshape(50)  # more than it had: new memory, of zeros
    bias.reshape(5)
    for value in (0, 2, 3):
        bias.data[...] = value
        net.forward(data=data)
        check(net, data)


def test_other_shapes_and_parts_of_the_net_come_in_between(tmp_path, by_layers):
    net = net_of(tmp_path, NET, caffe.TEST)
    settle(net)
    for items in (5, 1, 3, 2):
        net.blobs["data"].reshape(items, 3, 6, 5)
        data = normal(items, 3, 6, 5, seed=items)
        assert net.forward(data=data)["prob"].shape == (items, 5)
        check(net, data)
    assert len(by_layers) == 2
    net.forward(end="conv2")
    net.blobs["conv2"].data[...] = 0
    net.forward(start="bn2")
    assert len(by_layers) == 4
    assert np.ptp(net.blobs["bn2"].data[:, 0]) == 0
    data = normal(2, 3, 6, 5, seed=1)
    net.forward(data=data)
    check(net, data)
    net.blobs["conv2"].reshape(1, 1, 1, 1)
    net.forward(data=data)
    check(net, data)
    assert len(by_layers) == 6  # who runs parts goes on by layers


def test_gradients_after_it_are_those_of_layers_one_by_one(tmp_path, by_layers):
    text = "force_backward: true " + NET
    net, fresh = (net_of(tmp_path, text, caffe.TEST) for _ in range(2))
    settle(net)
    for name, blobs in net.params.items():
        for mine, its in zip(blobs, fresh.params[name], strict=True):
            its.data[...] = mine.data
    data, diff = normal(2, 3, 6, 5, seed=4), normal(2, 5, seed=4)
    for one in (net, fresh):
        one.clear_param_diffs()
        one.forward(data=data)
        one.blobs["prob"].diff[...] = diff
        one.backward()
    assert len(by_layers) == 3
    for name, blob in fresh.blobs.items():
        np.testing.assert_allclose(net.blobs[name].diff, blob.diff, atol=5e-5 * np.abs(blob.diff).max(), err_msg=name)
    for name, blobs in fresh.params.items():
        for mine, its in zip(net.params[name], blobs, strict=True):
            np.testing.assert_allclose(mine.diff, its.diff, atol=5e-5 * np.abs(its.diff).max() + 1e-30, err_msg=name)
    assert np.abs(net.blobs["data"].diff).max() > 0


OWN = NET.replace('type: "BatchNorm"', 'type: "BatchNorm" batch_norm_param { use_global_stats: false }')
ON_INPUT = input_layer("data", 2, 3, 6, 5) + layer("relu", "ReLU", "data", "data") + product("fc", "data", 2)


@pytest.mark.parametrize(
    ("text", "phase"),
    [(NET, caffe.TRAIN), (OWN, caffe.TEST), (ON_INPUT, caffe.TEST)],
    ids=["train", "statistics of the batch", "in place on an input"],
)
def test_nets_that_leave_something_behind_run_layer_by_layer(tmp_path, by_layers, text, phase):
    net = net_of(tmp_path, text, phase)
    for _ in range(4):
        net.forward(data=normal(2, 3, 6, 5))
    assert len(by_layers) == 4


def test_data_layers_bring_a_batch_each_time(tmp_path, by_layers):
    drawn = 'dummy_data_param { shape { dim: 2 dim: 3 dim: 6 dim: 5 } data_filler { type: "gaussian" } }'
    body = layer("noise", "DummyData", "", "noise", drawn) + layer("add", "Eltwise", "data noise", "added")
    net = net_of(tmp_path, input_layer("data", 2, 3, 6, 5) + body, caffe.TEST)
    data, noises = normal(2, 3, 6, 5), []
    for _ in range(5):
        net.forward(data=data)
        noises.append(net.blobs["noise"].data.copy())
        assert np.array_equal(net.blobs["added"].data, data + noises[-1])
    assert len(by_layers) == 2
    assert len({noise.tobytes() for noise in noises}) == 5


def test_callbacks_are_called_for_each_layer(tmp_path, by_layers):
    net, called = net_of(tmp_path, NET, caffe.TEST), []
    settle(net)
    net.before_forward(called.append)
    net.forward(data=normal(2, 3, 6, 5))
    assert called == list(range(len(net.layers)))
    assert len(by_layers) == 3


def test_large_logits_do_not_keep_a_net_by_layers(tmp_path, by_layers):
    """Logits of ten thousand that differ by one: their rounding is one of the third digit of what softmax makes."""
    net = net_of(tmp_path, NET, caffe.TEST)
    settle_weights(net)
    common, own = 100 * np.abs(normal(1, 120, seed=1)), 0.02 * normal(5, 120)
    net.params["fc"][0].data[...] = common + own
    for seed in range(4):
        net.forward(data=normal(2, 3, 6, 5, seed=seed))
        assert np.abs(net.blobs["fc"].data).max() > 1e4
        assert 0.01 < net.blobs["prob"].data.max() < 0.99
    assert len(by_layers) == 2


def test_losses_add_up(tmp_path, by_layers):
    body = product("fc", "data", 4) + layer("loss", "SoftmaxWithLoss", "fc label", "loss", "loss_weight: 3")
    net = net_of(tmp_path, input_layer("data", 6, 3) + input_layer("label", 6) + body, caffe.TEST)
    labels = np.arange(6, dtype=np.float32) % 4
    for seed in range(4):
        net.blobs["data"].data[...], net.blobs["label"].data[...] = normal(6, 3, seed=seed), labels
        loss = net._forward(0, len(net.layers) - 1)
        weight, bias = (torch.from_numpy(blob.data) for blob in net.params["fc"])
        logits = F.linear(torch.from_numpy(normal(6, 3, seed=seed)), weight, bias)
        assert loss == pytest.approx(3 * float(F.cross_entropy(logits, torch.from_numpy(labels).long())), rel=1e-5)
    assert len(by_layers) == 2


CHAIN = (
    "force_backward: true "
    + input_layer("data", 1, 3, 6, 6)
    + layer("conv", "Convolution", "data", "conv", CONV)
    + layer("relu", "ReLU", "conv", "conv", "relu_param { negative_slope: 0.3 }")
    + layer("tanh", "TanH", "conv", "conv")
    + product("fc", "conv", 5)
    + layer("relu2", "ReLU", "fc", "fc")
    + layer("prob", "Softmax", "fc", "prob")
)


def same_as_by_layers(tmp_path, actions):
    """What `actions(net)` gives, on a net that may run whole and on one that does not."""
    found = []
    for whole in (True, False):
        net = net_of(tmp_path, CHAIN, caffe.TEST)
        settle_weights(net)
        if not whole:
            net._net._whole.off = True
        found.append([np.array(array) for array in actions(net)])
    for mine, its in zip(*found, strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-5, atol=1e-6 * np.abs(its).max())
    assert any(np.abs(array).max() > 0 for array in found[1])


def diffs(net):
    return [net.blobs["conv"].diff, net.blobs["data"].diff, *(blob.diff for blob in net.params["conv"])]


def test_parts_of_a_larger_image_go_back(tmp_path):
    """As DeepDream does: what stands behind the layer it looks at never runs."""

    def actions(net):
        net.blobs["data"].reshape(1, 3, 12, 12)
        net.blobs["data"].data[...] = normal(1, 3, 12, 12)
        net.forward(end="tanh")
        net.blobs["conv"].diff[...] = net.blobs["conv"].data
        net.backward(start="tanh")
        return diffs(net)

    same_as_by_layers(tmp_path, actions)


@pytest.mark.parametrize("passes", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("ends", [("relu", "tanh"), ("tanh", "tanh"), ("conv", "tanh"), ("fc", "prob")])
def test_parts_run_after_whole_passes_and_go_back(tmp_path, passes, ends):
    def actions(net):
        for seed in range(passes):
            net.forward(data=normal(1, 3, 6, 6, seed=seed))
        start, end = ends
        bottom, top = net.bottom_names[start][0], net.top_names[end][0]
        if bottom != top or not passes:  # what is written into a blob in place, the layers behind it have not seen
            net.blobs[bottom].data[...] = normal(*net.blobs[bottom].shape, seed=7)
        net.forward(start=start, end=end)
        net.blobs[top].diff[...] = normal(*net.blobs[top].shape, seed=8)
        net.backward(start=end, end=start)
        given = [array.copy() for array in diffs(net)] + [net.blobs["fc"].diff.copy()]
        if passes:
            net.clear_param_diffs()
            net.blobs["prob"].diff[...] = normal(1, 5, seed=9)
            net.backward()
            given += diffs(net)
        return [*given, net.blobs["prob"].data, net.blobs["conv"].data]

    same_as_by_layers(tmp_path, actions)


def test_a_file_gets_each_batch_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    body = product("fc", "data", 4) + layer(
        "out", "HDF5Output", "fc label", "", 'hdf5_output_param { file_name: "o.h5" }'
    )
    net = net_of(tmp_path, input_layer("data", 2, 3) + input_layer("label", 2) + body, caffe.TEST)
    for i in range(4):
        net.forward(data=normal(2, 3), label=np.full(2, i, np.float32))
    net._net.close()
    with h5py.File("o.h5") as file:
        assert file["label"][:].ravel().tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
