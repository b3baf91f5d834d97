"""Nets as a whole: sharing shares, weights go where their names say, mistakes name the layer."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from small_nets import CHAIN, LONG, net_of, normal
from torch.nn.utils import prune

import sdcaffe
from sdcaffe import Net, proto
from sdcaffe.errors import GraphError, LayerError, PrototxtError, SdcaffeError, WeightsError


def test_blobs_by_the_names_that_pruning_gives_them():
    blobs = net_of(LONG).params["conv"]
    before = blobs[0].detach().clone()
    prune.custom_from_mask(blobs, "0", before > 0)
    assert torch.equal(blobs[0], before.relu())
    assert torch.equal(next(iter(blobs)), blobs[0])
    assert [tuple(blob.shape) for blob in blobs] == [(2, 3, 3, 3), (2,)]
    assert tuple(blobs[-1].shape) == (2,)


def test_a_fresh_batch_norm_net_saturates_its_loss():
    """Statistics are zero before training: Caffe's first test gives 87.3365."""
    net = net_of(
        CHAIN.replace("bias_term: true", "filler { value: 100 } bias_term: true")
        + """layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 2 } } }
        layer { name: "fc" type: "InnerProduct" bottom: "y" top: "fc"
          inner_product_param { num_output: 10 weight_filler { type: "gaussian" std: 1 } } }
        layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }""",
        sdcaffe.TEST,
    )
    scores = net.forward({"x": normal(2, 3, 4, 4), "label": [0, 0]}, keep=["fc"])
    label = scores["fc"].argmin(1).float()
    loss = net.forward({"x": normal(2, 3, 4, 4), "label": label})["loss"]
    assert loss.item() == pytest.approx(87.3365, abs=1e-4)


TWO = """
layer { name: "one" type: "InnerProduct" bottom: "x" top: "one" inner_product_param { num_output: 3
  weight_filler { type: "xavier" } } }
layer { name: "two" type: "InnerProduct" bottom: "one" top: "two" inner_product_param { num_output: 2
  weight_filler { type: "xavier" } } }
"""


def test_finetuning_fills_by_name_and_says_so(tmp_path, caplog):
    first = net_of(TWO)
    first.save(tmp_path / "a.caffemodel")
    with caplog.at_level(logging.INFO, logger="sdcaffe"):
        second = net_of(TWO.replace('"two"', '"new"', 1), weights=tmp_path / "a.caffemodel")
    assert torch.equal(second.params["one"][0], first.params["one"][0])
    assert not torch.equal(second.params["new"][0], first.params["two"][0])
    assert "Ignoring source layer two" in caplog.text
    assert "Filled 1 of 2 layers" in caplog.text
    assert "Left as initialised: new" in caplog.text


def test_later_weights_win_and_hdf5_is_the_same(tmp_path):
    first, second = net_of(TWO), net_of(TWO)
    first.save(tmp_path / "a.caffemodel")
    second.save(tmp_path / "b.caffemodel.h5")
    net = net_of(TWO)
    net.load_weights(f"{tmp_path}/a.caffemodel,{tmp_path}/b.caffemodel.h5")
    for name in ("one", "two"):
        for a, b in zip(net.params[name], second.params[name], strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("num_output: 3", "num_output: 4"), r'blob 0 of layer "one" .*3 48 \(144\).*4 48 \(192\).*another name'),
        (("num_output: 3", "num_output: 3 bias_term: false"), 'layer "one" has 1 blobs here but 2'),
    ],
)
def test_weights_that_do_not_fit_change_nothing(tmp_path, change, says):
    net_of(TWO).save(tmp_path / "a.caffemodel")
    with pytest.raises(WeightsError, match=says):
        net_of(TWO.replace(*change), weights=tmp_path / "a.caffemodel")
    net = net_of(TWO.replace(*change))
    before = [blob.clone() for blob in net.parameters()]
    with pytest.raises(WeightsError, match=says):
        net.load_weights(tmp_path / "a.caffemodel")
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


def test_propagate_down_and_lr_mult_0_stop_gradients():
    text = """
    layer { name: "one" type: "InnerProduct" bottom: "x" top: "one" inner_product_param { num_output: 3 } }
    layer { name: "two" type: "InnerProduct" bottom: "one" top: "two" propagate_down: false
      param { lr_mult: 0 } inner_product_param { num_output: 2 } loss_weight: 1 }"""
    net = net_of(text)
    net.compute(net.feed({"x": normal(2, 3, 4, 4)})).loss.backward()
    assert [blob.grad is None for blob in (*net.params["one"], *net.params["two"])] == [True, True, True, False]


def test_inputs_of_another_shape_reshape_the_net():
    net = net_of(CHAIN, sdcaffe.TEST)
    assert net.forward({"x": normal(7, 3, 9, 6)})["y"].shape == (7, 5, 9, 6)
    assert net.blob_shapes["y"] == (7, 5, 9, 6)
    with pytest.raises(SdcaffeError, match="conv"):
        net.forward({"x": normal(7, 4, 9, 6)})
    with pytest.raises(LayerError, match="takes the inputs x; given: y"):
        net.forward({"y": normal(2, 3, 4, 4)})
    with pytest.raises(LayerError, match="takes the inputs x; given: y"):
        net.reshape({"y": (2, 3, 4, 4)})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            'layer { name: "b" type: "Input" top: "b" input_param { shape { dim: 4294967296 dim: 4294967296 } } }',
            r"would hold 18446744073709551616 values; Caffe's limit is 2\^31 - 1",
        ),
        (
            'layer { name: "c" type: "ReLU" bottom: "x" bottom: "x" top: "c" }',
            r'"c" \(ReLU\) takes 1 bottom blobs, not 2',
        ),
        ('layer { name: "c" type: "Relu" bottom: "x" top: "c" }', 'unknown layer type "Relu".*Did you mean "ReLU"'),
        ('layer { name: "c" type: "Pooling" bottom: "x" top: "x" pooling_param { kernel_size: 2 } }', "in place"),
        (
            'layer { name: "c" type: "InnerProduct" bottom: "x" top: "c" inner_product_param { num_output: 1 } '
            "param { } param { } param { } }",
            "3 param entries for 2 blobs",
        ),
    ],
)
def test_mistakes_name_the_layer(text, says):
    with pytest.raises(SdcaffeError, match=says):
        net_of(text)


def test_kept_blobs_are_caffes_nchw():
    net = net_of(CHAIN, sdcaffe.TEST)
    blobs = net.forward({"x": normal(2, 3, 4, 4)}, keep=["x"])
    np.testing.assert_array_equal(blobs["x"].numpy(), normal(2, 3, 4, 4))
    with pytest.raises(GraphError, match='no blob "z"; it has x, y'):
        net.forward({"x": normal(2, 3, 4, 4)}, keep=["z"])


def test_a_loss_weight_counts_on_any_top():
    text = """
    layer { name: "d" type: "DummyData" top: "d" loss_weight: 2
      dummy_data_param { shape { dim: 3 } data_filler { value: 1.5 } } }
    layer { name: "p" type: "Power" bottom: "x" top: "p" loss_weight: 0.5 }"""
    net = net_of(text)
    x = normal(2, 3, 4, 4)
    assert net.compute({**net.load(), **net.feed({"x": x})}).loss.item() == pytest.approx(9 + 0.5 * x.sum(), rel=1e-5)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("loss_weight: 1 loss_weight: 2", "2 loss_weight for 1 tops"),
        ("param { } param { } param { }", "3 param entries for 2 blobs"),
    ],
)
def test_counts_that_do_not_fit(text, says):
    with pytest.raises(LayerError, match=says):
        net_of(
            f'layer {{ name: "c" type: "InnerProduct" bottom: "x" top: "c" {text} '
            "inner_product_param { num_output: 1 } }"
        )


def test_a_test_net_leaves_its_train_nets_parameters_learning():
    train = net_of(TWO)
    frozen = TWO.replace('"one" type', '"one" param { lr_mult: 0 } param { lr_mult: 0 } type')
    test = net_of(frozen, sdcaffe.TEST, share=train)
    assert test.params["one"][0] is train.params["one"][0]
    assert all(blob.requires_grad for blob in train.parameters())
    with pytest.raises(LayerError, match="1 blobs here but 2 in the net it shares them with"):
        net_of(TWO.replace("num_output: 3", "num_output: 3 bias_term: false"), sdcaffe.TEST, share=train)


@pytest.mark.parametrize("source", [5, None, {"name": "n"}])
def test_a_net_is_made_from_a_path_or_a_message(source):
    with pytest.raises(GraphError, match="a prototxt's path or a NetParameter"):
        Net(source, sdcaffe.TEST)


def test_images_of_another_size_set_the_net_up_anew(tmp_path, monkeypatch):
    """batch_size 1 without crop: each image has its own size, as in Caffe's detection and segmentation nets."""
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    for name, size in (("a.png", (8, 6)), ("b.png", (5, 9))):
        Image.new("RGB", size, (10, 20, 30)).save(name)
    (tmp_path / "list.txt").write_text("a.png 0\nb.png 1\n")
    net = proto.NetParameter()
    text = """
    layer { name: "d" type: "ImageData" top: "x" top: "y" image_data_param { source: "list.txt" batch_size: 1 } }
    layer { name: "c" type: "Convolution" bottom: "x" top: "c" convolution_param { num_output: 2 kernel_size: 3 } }
    layer { name: "r" type: "Reshape" bottom: "c" top: "r" reshape_param { shape { dim: 0 dim: -1 } } }"""
    proto.text.parse(text, net, "net")
    made = Net(net)
    assert made.forward()["r"].shape == (1, 2 * 4 * 6)
    assert made.forward()["r"].shape == (1, 2 * 7 * 3)
    assert made.blob_shapes["c"] == (1, 2, 7, 3)
    made.close()


def test_inputs_that_nobody_gave_are_named():
    net = net_of('layer { name: "neg" type: "Power" bottom: "x" top: "y" power_param { scale: -1 } }')
    with pytest.raises(LayerError, match="inputs that nobody gave: x"):
        net.compute(net.load())


FC = """name: "n" input: "x" input_shape { dim: 2 dim: 3 }
layer { name: "fc" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 3 } BLOBS }"""
V1 = """name: "n" input: "x" input_shape { dim: 2 dim: 3 }
layers { name: "fc" type: INNER_PRODUCT bottom: "x" top: "y" inner_product_param { num_output: 3 } BLOBS }"""
BLOBS = """blobs { shape { dim: 3 dim: 3 } data: 1 data: 2 data: 3 data: 4 data: 5 data: 6 data: 7 data: 8 data: 9 }
blobs { shape { dim: 3 } data: 1 data: 2 data: 3 }"""


@pytest.mark.parametrize("text", [FC, V1])
def test_blobs_that_a_prototxt_gives_are_the_layers(text, tmp_path):
    """Of ones BVLC Caffe 1.0 makes values that sum to 102. A weight file goes before the prototxt."""
    (tmp_path / "net.prototxt").write_text(text.replace("BLOBS", BLOBS))
    net = Net(tmp_path / "net.prototxt")
    assert net.forward({"x": np.ones((2, 3))})["y"].sum().item() == 102
    for blob in net.params["fc"]:
        blob.data.fill_(2)
    net.save(tmp_path / "twos.caffemodel")
    again = Net(tmp_path / "net.prototxt", weights=[str(tmp_path / "twos.caffemodel")])
    assert again.forward({"x": np.ones((2, 3))})["y"].sum().item() == 48


@pytest.mark.parametrize(
    ("blobs", "says"),
    [
        (BLOBS.split("\n")[0], "2 blobs here but 1 in the prototxt"),
        (BLOBS.replace("dim: 3 dim: 3", "dim: 9"), "shape 9 .9. but the layer needs 3 3"),
        ("blobs { shape { dim: 3 dim: 3 } }", "which is 9 numbers, but holds 0"),
    ],
)
def test_blobs_of_a_prototxt_that_do_not_fit(blobs, says, tmp_path):
    (tmp_path / "net.prototxt").write_text(FC.replace("BLOBS", blobs))
    with pytest.raises(WeightsError, match=says):
        Net(tmp_path / "net.prototxt")


def test_unknown_fields_are_skipped_when_asked(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 } } nobodys_field: 3 }\n'
        'layer { name: "y" type: "Power" bottom: "x" top: "y" power_param { scale: 2 nobodys_either { a: 1 } } }\n'
    )
    with pytest.raises(PrototxtError, match="nobodys_field"):
        Net(path)
    net = Net(path, ignore_unknown=True)
    assert net({"x": [1.0, -2.0]})["y"].tolist() == [2, -4]


GRAY = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 3 dim: 1 dim: 6 dim: 5 } } }
layer { name: "pool" type: "Pooling" bottom: "x" top: "pool" pooling_param { kernel_size: 2 } }
layer { name: "conv" type: "Convolution" bottom: "pool" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "next" type: "Convolution" bottom: "conv" top: "next"
  convolution_param { num_output: 2 kernel_size: 1 weight_filler { type: "xavier" } } }"""


@pytest.mark.parametrize("phase", [proto.TRAIN, proto.TEST])
def test_images_of_one_channel_are_computed_channels_last(phase):
    message = proto.NetParameter()
    proto.text.parse(GRAY, message, "net.prototxt")
    net = Net(message, phase)
    x = normal(3, 1, 6, 5)
    blobs = net.forward({"x": x}, keep=["pool", "conv", "next"])
    for name in ("conv", "next"):
        assert blobs[name].is_contiguous(memory_format=torch.channels_last)
    weight = net.params["conv"][0].detach().numpy().astype(np.float64)[:, 0]
    pool = np.lib.stride_tricks.sliding_window_view(x[:, 0], (2, 2), (1, 2)).max((-1, -2))
    windows = np.lib.stride_tricks.sliding_window_view(pool, (3, 3), (1, 2)).astype(np.float64)
    np.testing.assert_allclose(
        blobs["conv"].detach().numpy(), np.einsum("nhwij,oij->nohw", windows, weight), rtol=1e-5, atol=1e-5
    )


SUMMED = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 3 dim: 2 dim: 6 dim: 5 } } }
layer { name: "a" type: "Convolution" bottom: "x" top: "a"
  convolution_param { num_output: 4 kernel_size: 1 weight_filler { type: "xavier" } } }
layer { name: "b" type: "Convolution" bottom: "x" top: "b"
  convolution_param { num_output: 4 kernel_size: 1 weight_filler { type: "xavier" } } }
layer { name: "sum" type: "Eltwise" bottom: "a" bottom: "b" top: "sum" }
layer { name: "relu" type: "ReLU" bottom: "sum" top: "sum" }"""


@pytest.mark.parametrize("keep", [["a"], ["b"], ["a", "b"], ["b", "sum"], ["a", "b", "sum"]])
def test_every_blob_asked_for_is_as_its_layer_made_it(keep):
    """A sum takes the memory of one of its bottoms: of one that nobody asks for, and of no other in its place."""
    message = proto.NetParameter()
    proto.text.parse(SUMMED, message, "net.prototxt")
    net = Net(message, proto.TEST)
    x = torch.from_numpy(normal(3, 2, 6, 5))
    with torch.no_grad():
        blobs = net.forward({"x": x}, keep=keep)
        made = {name: torch.conv2d(x, *net.params[name]) for name in ("a", "b")}
    made["sum"] = (made["a"] + made["b"]).relu()
    for name in {*keep, "sum"}:
        assert torch.allclose(blobs[name], made[name], atol=1e-6), name
