"""Parameters that layers share by name: one tensor, whose multipliers, weights and shape they agree on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_nets import net_of, normal

import sdcaffe
from sdcaffe import proto
from sdcaffe.errors import GraphError
from sdcaffe.net.weights import Weights


def test_parameters_shared_by_name_are_one_and_gather_both_gradients():
    text = """
    layer { name: "a" type: "InnerProduct" bottom: "x" top: "a" param { name: "w" lr_mult: 2 }
      inner_product_param { num_output: 4 bias_term: false weight_filler { type: "gaussian" std: 1 } } }
    layer { name: "b" type: "InnerProduct" bottom: "x" top: "b" param { name: "w" }
      inner_product_param { num_output: 4 bias_term: false } }
    layer { name: "sum" type: "Eltwise" bottom: "a" bottom: "b" top: "s" loss_weight: 1 }"""
    net = net_of(text)
    assert len(net.learnable) == 1
    assert net.learnable[0].lr_mult == 2
    assert net.params["a"][0] is net.params["b"][0]
    x = normal(2, 3, 4, 4)
    net.compute(net.feed({"x": x})).loss.backward()
    np.testing.assert_allclose(
        net.params["a"][0].grad, np.tile(2 * x.reshape(2, -1).sum(0), (4, 1)), rtol=1e-5, atol=1e-5
    )


PERMISSIVE = """
layer { name: "a" type: "InnerProduct" bottom: "x" top: "a" param { name: "w" }
  inner_product_param { num_output: 4 bias_term: false weight_filler { type: "gaussian" std: 1 } } }
layer { name: "b" type: "InnerProduct" bottom: "a" top: "b" param { name: "w" share_mode: PERMISSIVE }
  inner_product_param { num_output: 48 bias_term: false } }
layer { name: "out" type: "Power" bottom: "b" top: "out" loss_weight: 1 }"""


APART = """
layer { name: "a" type: "InnerProduct" bottom: "x" top: "a"
  inner_product_param { num_output: 40 bias_term: false weight_filler { type: "gaussian" std: 1 } } }
layer { name: "b" type: "InnerProduct" bottom: "x" top: "b" inner_product_param { num_output: 40 bias_term: false } }"""
TIED = APART.replace('top: "a"', 'top: "a" param { name: "w" }').replace('top: "b"', 'top: "b" param { name: "w" }')


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_of_a_files_entries_for_one_parameter_the_last_stays(tmp_path, order):
    file = proto.NetParameter()
    for i, name in enumerate(order):
        file.layer.add(name=name, type="InnerProduct").blobs.append(proto.array_to_blob(np.full((40, 48), i, "f")))
    (tmp_path / "w.caffemodel").write_bytes(file.SerializeToString())
    net = net_of(TIED, weights=tmp_path / "w.caffemodel")
    assert torch.equal(net.params["a"][0], torch.ones(40, 48))
    net.load_weights(str(tmp_path / "w.caffemodel"))
    assert torch.equal(net.params["b"][0], torch.ones(40, 48))


def test_nets_filled_from_weights_that_were_read_once_have_memory_of_their_own(tmp_path):
    net_of(APART).save(tmp_path / "w.caffemodel")
    read = Weights(tmp_path / "w.caffemodel")
    nets = [net_of(APART, weights=given) for given in (read, read, tmp_path / "w.caffemodel")]
    arrays = [net.params["a"][0].detach().numpy() for net in nets]
    for i, array in enumerate(arrays):
        array[:] = i
    assert [set(array.ravel()) for array in arrays] == [{0.0}, {1.0}, {2.0}]
    assert read.entries[-2].blobs[0].std() > 0.5


def test_permissive_sharing_is_one_parameter_in_two_shapes(tmp_path):
    net = net_of(PERMISSIVE)
    assert len(net.learnable) == 1
    x = normal(2, 3, 4, 4)
    with torch.no_grad():
        net.params["a"][0].copy_(torch.from_numpy(normal(4, 48)))
    result = net.compute(net.feed({"x": x}), keep=["a"])
    result.loss.backward()
    w, flat = normal(4, 48).astype(float), x.reshape(2, -1).astype(float)
    a = flat @ w.T
    np.testing.assert_allclose(result.blobs["out"].detach(), a @ w.reshape(48, 4).T, rtol=1e-4, atol=1e-4)
    through_b = np.ones((2, 48)).T @ a
    through_a = (np.ones((2, 48)) @ w.reshape(48, 4)).T @ flat
    np.testing.assert_allclose(net.params["a"][0].grad, through_b.reshape(4, 48) + through_a, rtol=1e-4, atol=1e-3)
    net.save(tmp_path / "n.caffemodel")
    saved = {entry.name: entry.blobs[0] for entry in proto.read_weights(tmp_path / "n.caffemodel") if entry.blobs}
    np.testing.assert_array_equal(saved["b"].reshape(-1), saved["a"].reshape(-1))
    other = net_of(PERMISSIVE, weights=tmp_path / "n.caffemodel")
    np.testing.assert_array_equal(other.params["a"][0].detach(), saved["a"])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ((" share_mode: PERMISSIVE", ""), "STRICT sharing needs one shape"),
        (("num_output: 48", "num_output: 50"), "PERMISSIVE sharing needs one count"),
        (('name: "w" share_mode', 'name: "w" lr_mult: 3 share_mode'), "lr_mult 3.*1"),
    ],
)
def test_sharing_that_does_not_fit(change, says):
    text = PERMISSIVE.replace('param { name: "w" }', 'param { name: "w" lr_mult: 1 }')
    with pytest.raises(GraphError, match=says):
        net_of(text.replace(*change))


def test_a_test_net_reads_a_parameter_of_two_shapes_from_its_train_net():
    train = net_of(PERMISSIVE)
    test = net_of(PERMISSIVE, sdcaffe.TEST, share=train)
    with torch.no_grad():
        train.learnable[0].tensor.normal_()
    x = normal(2, 3, 4, 4)
    assert torch.equal(test({"x": x})["out"], train({"x": x})["out"])


SHARED = """
layer { name: "a" type: "InnerProduct" bottom: "x" top: "a" param { name: "w" %s }
  inner_product_param { num_output: 48 bias_term: false weight_filler { type: "xavier" } } }
layer { name: "b" type: "InnerProduct" bottom: "a" top: "b" param { name: "w" %s }
  inner_product_param { num_output: 48 bias_term: false weight_filler { type: "xavier" } } }"""


@pytest.mark.parametrize(
    ("first", "second", "lr_mult", "decay_mult"),
    [
        ("", "lr_mult: 2 decay_mult: 0", 2, 0),
        ("lr_mult: 2", "decay_mult: 3", 2, 3),
        ("lr_mult: 2", "", 2, 1),
        ("", "lr_mult: 0", 0, 1),
    ],
)
def test_a_shared_parameters_multipliers_are_the_first_ones_given(first, second, lr_mult, decay_mult):
    (parameter,) = net_of(SHARED % (first, second)).learnable
    assert (parameter.lr_mult, parameter.decay_mult) == (lr_mult, decay_mult)
    assert parameter.tensor.requires_grad == bool(lr_mult)


def test_weights_of_a_layer_that_shares_go_to_the_parameter(tmp_path):
    alone = SHARED[SHARED.index('layer { name: "b"') :].replace('bottom: "a"', 'bottom: "x"')
    other = net_of(alone % "")
    other.save(tmp_path / "b.caffemodel")
    both = net_of(SHARED % ("", ""), weights=tmp_path / "b.caffemodel")
    assert torch.equal(both.params["a"][0], other.params["b"][0])
