"""Nets as a whole: what runs fused runs as its parts do, sharing shares, weights go where their names say."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from small_nets import net_of, normal
from torch.nn import functional as F
from torch.nn.utils import prune

import sdcaffe
from sdcaffe import Net, proto
from sdcaffe.errors import GraphError, LayerError, SdcaffeError, WeightsError

CHAIN = """
layer { name: "conv" type: "Convolution" bottom: "x" top: "y"
  convolution_param { num_output: 5 kernel_size: 3 pad: 1 bias_term: false weight_filler { type: "msra" } } }
layer { name: "bn" type: "BatchNorm" bottom: "y" top: "y" batch_norm_param { moving_average_fraction: 0.9 } }
layer { name: "scale" type: "Scale" bottom: "y" top: "y" scale_param { bias_term: true } }
layer { name: "relu" type: "ReLU" bottom: "y" top: "y" }
"""
# the same layers with a reader between them, so that nothing can be fused
APART = (
    CHAIN.replace('"bn" type: "BatchNorm" bottom: "y" top: "y"', '"bn" type: "BatchNorm" bottom: "y" top: "b"')
    .replace('"scale" type: "Scale" bottom: "y" top: "y"', '"scale" type: "Scale" bottom: "b" top: "s"')
    .replace('"relu" type: "ReLU" bottom: "y" top: "y"', '"relu" type: "ReLU" bottom: "s" top: "r"')
    + 'layer { name: "look" type: "Silence" bottom: "b" } layer { name: "look2" type: "Silence" bottom: "s" }'
)


def test_a_fused_chain_gives_the_numbers_gradients_and_blobs_of_its_layers():
    torch.manual_seed(3)
    fused = net_of(CHAIN + "force_backward: true")
    torch.manual_seed(3)
    apart = net_of(APART + "force_backward: true")
    assert len(fused.execution.plain) == 2
    x, seed = normal(2, 3, 4, 4), torch.from_numpy(normal(2, 5, 4, 4))
    results = []
    for net, top in ((fused, "y"), (apart, "r")):
        batch = net.feed({"x": x})
        out = net.compute(batch).blobs[top]
        (out * seed).sum().backward()
        gradients = [blob.grad for blob in (net.params["conv"][0], *net.params["scale"])]
        results.append([out, *batch.values(), *net.params["bn"], *gradients, next(iter(batch.values())).grad])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


LONG = """
force_backward: true
layer { name: "bn" type: "BatchNorm" bottom: "x" top: "b" batch_norm_param { moving_average_fraction: 0.9 } }
layer { name: "scale" type: "Scale" bottom: "b" top: "s" scale_param { bias_term: true filler { value: 1.5 }
  bias_filler { value: 0.2 } } }
layer { name: "relu" type: "ReLU" bottom: "s" top: "r" }
layer { name: "conv" type: "Convolution" bottom: "r" top: "y"
  convolution_param { num_output: 2 kernel_size: 3 weight_filler { type: "msra" } } }
"""
SUM = 'layer { name: "sum" type: "Eltwise" bottom: "r" bottom: "x" top: "sum" }\n'


@pytest.mark.parametrize("text", [LONG, LONG + SUM, LONG[: LONG.index('layer { name: "conv"')] + SUM])
@pytest.mark.parametrize("keep", [[], ["r"], ["s"]])
def test_a_chain_of_many_values(text, keep):
    """Where torch's batch norm would not do, forward and all gradients are those of float64."""
    net = net_of(text)
    assert any(
        op.overwritten is not None for op in net.execution.ops_making({net.graph.slot(name) for name in keep})
    ) == (text == LONG and "r" not in keep and "s" not in keep)
    values = 5 + 2 * normal(6, 3, 32, 32)
    batch = net.feed({"x": values})
    blobs = net.compute(batch, keep).blobs
    exact = torch.from_numpy(values).double().requires_grad_()
    weight, bias = (p.detach().double().requires_grad_() for p in net.params["scale"])
    kernel = [p.detach().double() for p in net.params.get("conv", [torch.zeros(2, 3, 3, 3)])]
    scaled = F.batch_norm(exact, None, None, weight, bias, training=True, eps=1e-5)
    rectified = scaled.relu()
    wanted = {"s": scaled, "r": rectified, "y": F.conv2d(rectified, *kernel), "sum": rectified + exact}
    tops = net.outputs
    seeds = [torch.from_numpy(normal(*wanted[name].shape)) for name in tops]
    sources = [exact, weight, bias, *(wanted[name] for name in keep)]
    gradients = torch.autograd.grad([wanted[name] for name in tops], sources, [seed.double() for seed in seeds])
    found = torch.autograd.grad(
        [blobs[name] for name in tops], [*batch.values(), *net.params["scale"], *(blobs[k] for k in keep)], seeds
    )
    for name, blob in blobs.items():
        torch.testing.assert_close(blob.double(), wanted[name], rtol=1e-5, atol=1e-5)
    for gradient, expected in zip(found, gradients, strict=True):
        torch.testing.assert_close(gradient.double(), expected, rtol=1e-5, atol=1e-4)
    mean, variance, _ = net.params["bn"]
    torch.testing.assert_close(mean.double(), exact.detach().mean((0, 2, 3)), rtol=5e-7, atol=0)
    torch.testing.assert_close(variance.double(), exact.detach().var((0, 2, 3)), rtol=1e-6, atol=0)


def test_a_hook_on_the_convolution_behind_a_chain_keeps_what_it_sees():
    net, seen = net_of(LONG), []
    net.layers["conv"].register_full_backward_hook(lambda layer, inward, outward: seen.append(inward[0]))
    (blob,) = net.compute(net.feed({"x": normal(6, 3, 32, 32)})).blobs.values()
    seed = torch.from_numpy(normal(*blob.shape))
    blob.backward(seed)
    wanted = F.conv_transpose2d(seed, net.params["conv"][0].detach())
    torch.testing.assert_close(seen[0], wanted, rtol=1e-5, atol=1e-5)


def test_blobs_by_the_names_that_pruning_gives_them():
    blobs = net_of(LONG).params["conv"]
    before = blobs[0].detach().clone()
    prune.custom_from_mask(blobs, "0", before > 0)
    assert torch.equal(blobs[0], before.relu())
    assert torch.equal(next(iter(blobs)), blobs[0])
    assert [tuple(blob.shape) for blob in blobs] == [(2, 3, 3, 3), (2,)]
    assert tuple(blobs[-1].shape) == (2,)


RECTIFIED = {
    "Convolution": 'bottom: "x" convolution_param { num_output: 5 kernel_size: 3 weight_filler { type: "msra" } }',
    "InnerProduct": 'bottom: "x" inner_product_param { num_output: 5 weight_filler { type: "xavier" } }',
    "Eltwise": 'bottom: "x" bottom: "x" eltwise_param { coeff: 2 coeff: -0.5 }',
}


@pytest.mark.parametrize("kind", RECTIFIED)
def test_a_relu_in_the_memory_of_its_bottom_gives_the_same(kind):
    layer = f'force_backward: true layer {{ name: "make" type: "{kind}" top: "y" {RECTIFIED[kind]} }}\n'
    relu = 'layer { name: "relu" type: "ReLU" bottom: "y" top: "r" }\n'
    look = 'layer { name: "look" type: "Silence" bottom: "y" }'
    results = []
    for text, steps in ((layer + relu, 1), (layer + relu + look, 3)):
        torch.manual_seed(3)
        net = net_of(text)
        assert len([op for op in net.execution.plain if op.layers[0].type != "Split"]) == steps
        batch = net.feed({"x": normal(2, 3, 4, 4)})
        out = net.compute(batch).blobs["r"]
        out.square().sum().backward()
        results.append([out, *(t.grad for t in batch.values()), *(p.grad for p in net.parameters())])
        assert (out == 0).any()
        torch.testing.assert_close(net.compute(batch, ["y"]).blobs["y"].relu(), out)
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


SUMMED = """
layer { name: "a" type: "Convolution" bottom: "x" top: "a"
  convolution_param { num_output: 3 kernel_size: 1 weight_filler { type: "msra" } } }
layer { name: "b" type: "Convolution" bottom: "x" top: "b"
  convolution_param { num_output: 3 kernel_size: 1 weight_filler { type: "msra" } } }
layer { name: "sum" type: "Eltwise" bottom: "%s" bottom: "%s" top: "sum" }
"""


@pytest.mark.parametrize("bottoms", [("a", "b"), ("x", "b"), ("a", "x"), ("a", "a"), ("x", "x")])
@pytest.mark.parametrize("relu", ["", 'layer { name: "relu" type: "ReLU" bottom: "sum" top: "sum" }'])
def test_a_sum_in_the_memory_of_a_bottom_gives_the_same(bottoms, relu):
    text = (
        SUMMED % bottoms
        + relu
        + "".join(
            f'layer {{ name: "quiet_{name}" type: "Silence" bottom: "{name}" }}' for name in {"a", "b"} - set(bottoms)
        )
    )
    net = net_of(text.replace("layer", "force_backward: true layer", 1))
    batch = net.feed({"x": normal(2, 3, 4, 4)})
    (x,) = batch.values()
    kept = x.detach().clone()
    out = net.compute(batch).blobs["sum"]
    out.square().sum().backward()
    assert torch.equal(x.detach(), kept)
    wanted_x = kept.requires_grad_()
    blobs = {name: F.conv2d(wanted_x, *(p.detach() for p in net.params[name])) for name in "ab"} | {"x": wanted_x}
    wanted = blobs[bottoms[0]] + blobs[bottoms[1]]
    wanted = wanted.relu() if relu else wanted
    wanted.square().sum().backward()
    torch.testing.assert_close(out, wanted)
    torch.testing.assert_close(x.grad, wanted_x.grad)
    for name in {"a", "b"} & set(bottoms):  # asked for, a bottom keeps its own values
        torch.testing.assert_close(net.compute(batch, [name]).blobs[name], blobs[name])


KINDS = ["", "bias_term: false", "kernel_size: 1 bias_term: false", "group: 2", ""]


def test_a_test_net_folds_convolutions_of_several_kinds():
    """Five in a row, of several widths, eps, with and without biases: each gets its own factor and bias."""
    text, top = "", "x"
    for i, kind in enumerate(KINDS):
        size = "" if "kernel" in kind else "kernel_size: 3 pad: 1"
        eps, with_bias = 1e-5 if i != 3 else 0.1, "true" if i % 2 else "false"
        text += f"""
layer {{ name: "c{i}" type: "Convolution" bottom: "{top}" top: "y{i}" convolution_param {{ num_output: {4 + 2 * i}
  {kind} {size} weight_filler {{ type: "msra" }} bias_filler {{ value: 0.{i}5 }} }} }}
layer {{ name: "b{i}" type: "BatchNorm" bottom: "y{i}" top: "y{i}" batch_norm_param {{ eps: {eps} }} }}
layer {{ name: "s{i}" type: "Scale" bottom: "y{i}" top: "y{i}" scale_param {{ bias_term: {with_bias} }} }}
layer {{ name: "r{i}" type: "ReLU" bottom: "y{i}" top: "y{i}" }}"""
        top = f"y{i}"
    net = net_of(text, sdcaffe.TEST)
    generator = torch.Generator().manual_seed(1)
    for name, blobs in net.params.items():
        for blob in blobs:
            if name[0] != "c":
                blob.data.copy_(0.5 + torch.rand(blob.shape, generator=generator))
    x = normal(2, 3, 4, 4)
    wanted = torch.from_numpy(x).double()
    for i in range(len(KINDS)):
        layers = [net.layers[f"{kind}{i}"] for kind in "cbs"]
        kernel, *bias = (p.detach().double() for p in layers[0].blobs)
        pad, group = layers[0].geometry.pad, layers[0].group
        wanted = F.conv2d(wanted, kernel, *bias or [None], padding=pad, groups=group)
        mean, variance, weight = (p.detach().double() for p in layers[1].blobs)
        scale = [p.detach().double() for p in layers[2].blobs]
        wanted = F.batch_norm(wanted, mean / weight, variance / weight, *scale, eps=layers[1].eps).relu()
    torch.testing.assert_close(net.forward({"x": x})[top].double(), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bias", ["true", "false"])
def test_a_test_net_folds_statistics_into_the_convolution(bias):
    text = CHAIN.replace("bias_term: false", f"bias_term: {bias} bias_filler {{ value: 0.5 }}")
    apart = APART.replace("bias_term: false", f"bias_term: {bias} bias_filler {{ value: 0.5 }}")
    torch.manual_seed(3)
    folded = net_of(text, sdcaffe.TEST)
    torch.manual_seed(3)
    layers = net_of(apart, sdcaffe.TEST)
    assert len(folded.execution.plain) == 2  # the factors, then one convolution
    for net in (folded, layers):
        generator = torch.Generator().manual_seed(1)
        for name in ("bn", "scale"):
            for blob in net.params[name]:
                blob.data.copy_(torch.rand(blob.shape, generator=generator) + 0.5)
    x = normal(2, 3, 4, 4)
    torch.testing.assert_close(folded.forward({"x": x})["y"], layers.forward({"x": x})["r"], rtol=1e-5, atol=1e-5)


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


def test_a_blob_inside_a_chain_can_be_kept():
    torch.manual_seed(3)
    text = CHAIN.replace('"y"', '"a"', 1)
    text = text.replace('type: "BatchNorm" bottom: "y" top: "y"', 'type: "BatchNorm" bottom: "a" top: "b"')
    text = text.replace('"scale" type: "Scale" bottom: "y"', '"scale" type: "Scale" bottom: "b"')
    net = net_of(text)
    x = normal(2, 3, 4, 4)
    kept = net.forward({"x": x}, keep=["a", "b"])
    a = kept["a"].detach().double().numpy()
    mean, variance = a.mean((0, 2, 3), keepdims=True), a.var((0, 2, 3), keepdims=True)
    np.testing.assert_allclose(kept["b"].detach(), (a - mean) / np.sqrt(variance + 1e-5), rtol=1e-4, atol=1e-5)


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
