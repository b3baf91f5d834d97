"""DenseBlock against the same layers written out, which recordings of Caffe hold, and torch's own autograd."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import sdcaffe
from sdcaffe import Net, layers, proto
from sdcaffe.cli import main
from sdcaffe.errors import LayerError, WeightsError
from sdcaffe.paper.dense_blocks import convert
from sdcaffe.tools.costs import costs

HEAD = 'name: "n" force_backward: true layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 4 dim: 5 '
HEAD += "dim: 8 dim: 8 } } }\n"
LAYERS, GROWTH = 3, 4
BLOCK = """layer { name: "dense" type: "DenseBlock" bottom: "x" top: "y"
  dense_block_param { layers: 3 growth: 4 weight_filler { type: "msra" } moving_average_fraction: 0.9 } }"""


def written_out():
    text, bottom = "", "x"
    for i in range(1, LAYERS + 1):
        top = f"c{i}" if i < LAYERS else "y"
        text += f"""
        layer {{ name: "dense_{i}_bn" type: "BatchNorm" bottom: "{bottom}" top: "b{i}"
          batch_norm_param {{ moving_average_fraction: 0.9 }} }}
        layer {{ name: "dense_{i}_scale" type: "Scale" bottom: "b{i}" top: "b{i}" scale_param {{ bias_term: true }} }}
        layer {{ name: "dense_{i}_relu" type: "ReLU" bottom: "b{i}" top: "b{i}" }}
        layer {{ name: "dense_{i}" type: "Convolution" bottom: "b{i}" top: "n{i}" convolution_param {{
          num_output: {GROWTH} kernel_size: 3 pad: 1 bias_term: false weight_filler {{ type: "msra" }} }} }}
        layer {{ name: "join_{i}" type: "Concat" bottom: "{bottom}" bottom: "n{i}" top: "{top}" }}"""
        bottom = top
    return text


def write(path, text):
    path.write_text(HEAD + text)
    return path


@pytest.fixture
def both(tmp_path):
    """Prototxts of the two forms, and weights of either that are no filler's."""
    block, parts = write(tmp_path / "block.prototxt", BLOCK), write(tmp_path / "parts.prototxt", written_out())
    net = Net(parts, sdcaffe.TRAIN)
    generator = np.random.default_rng(1)
    with torch.no_grad():
        for blobs in net.params.values():
            for blob in blobs:
                values = generator.uniform(0.5, 1.5, blob.shape) - (blob.dim() > 1)
                blob.copy_(torch.from_numpy(values.astype(np.float32)))
    net.save(tmp_path / "parts.caffemodel")
    convert(tmp_path / "parts.caffemodel", block, tmp_path / "block.caffemodel")
    return tmp_path


def test_it_costs_what_its_layers_cost(both):
    block, parts = (costs(Net(both / f"{form}.prototxt")) for form in ("block", "parts"))
    for what in ("parameters", "statistics", "multiply_adds"):
        assert block.total(what) == parts.total(what) > 0


def pass_of(folder, form, phase):
    """Top, gradient of the bottom, blobs and their gradients under the names of the written-out layers."""
    net = Net(folder / f"{form}.prototxt", phase, folder / f"{form}.caffemodel")
    batch = net.feed({"x": np.random.default_rng(2).standard_normal((4, 5, 8, 8)).astype(np.float32)})
    top = net.compute(batch).blobs["y"]
    seed = torch.from_numpy(np.random.default_rng(3).standard_normal(tuple(top.shape)).astype(np.float32))
    (top * seed).sum().backward()
    blobs = [blob for name, own in net.params.items() for blob in own]
    (bottom,) = batch.values()
    return [top, bottom.grad, *blobs, *(blob.grad for blob in blobs if blob.requires_grad)]


@pytest.mark.parametrize("phase", [sdcaffe.TRAIN, sdcaffe.TEST])
def test_it_is_the_written_out_layers(both, phase):
    block, parts = pass_of(both, "block", phase), pass_of(both, "parts", phase)
    assert len(block) == len(parts) == 2 + 9 * LAYERS
    for a, b in zip(block, parts, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=2e-5)


def test_weights_go_both_ways_bit_for_bit(both, capsys):
    back = str(both / "back.caffemodel")
    assert main(["convert", "dense-blocks", str(both / "block.caffemodel"), str(both / "parts.prototxt"), back]) == 0
    assert capsys.readouterr().out.startswith(f"Wrote {back}: 9 layers with blobs")
    first, again = (sdcaffe.read_weights(both / name) for name in ("parts.caffemodel", "back.caffemodel"))
    for a, b in zip(first, again, strict=True):
        assert (a.name, len(a.blobs)) == (b.name, len(b.blobs))
        for x, y in zip(a.blobs, b.blobs, strict=True):
            np.testing.assert_array_equal(x, y)


def test_hdf5_which_says_no_types_goes_both_ways_too(both):
    seen = []
    for source, net, target in (("parts.caffemodel", "block", "block.h5"), ("block.h5", "parts", "back.h5")):
        convert(both / source, both / f"{net}.prototxt", both / target, tick=lambda *at: seen.append(at))
    assert seen == [(1, 2), (2, 2)] * 2
    first = {layer.name: layer.blobs for layer in sdcaffe.read_weights(both / "parts.caffemodel")}
    again = {layer.name: layer.blobs for layer in sdcaffe.read_weights(both / "back.h5") if layer.blobs}
    for name, blobs in again.items():
        for x, y in zip(first[name], blobs, strict=True):
            np.testing.assert_array_equal(x, y)
    assert len(again) == 9


def test_fields_of_a_fork_are_read_past_where_that_is_asked(both, capsys):
    other = both / "fork.prototxt"
    other.write_text((both / "parts.prototxt").read_text().replace('name: "n"', 'name: "n" of_a_fork: 1'))
    command = ["convert", "dense-blocks", str(both / "block.caffemodel"), str(other), str(both / "fork.caffemodel")]
    assert main(command) == 1
    assert 'has no field "of_a_fork"' in capsys.readouterr().err
    assert main([*command, "--ignore-unknown"]) == 0


def test_weights_of_another_net_are_refused(both):
    wide = write(both / "wide.prototxt", BLOCK.replace("growth: 4", "growth: 5"))
    with pytest.raises(WeightsError, match=r'layer "dense" of .* finds no weights of its shapes'):
        convert(both / "parts.caffemodel", wide, both / "no.caffemodel")
    assert not (both / "no.caffemodel").exists()


def test_dropout_scales_what_it_keeps_and_its_gradient(tmp_path):
    text = BLOCK.replace("layers: 3", "layers: 1 dropout: 0.5")
    net = Net(write(tmp_path / "net.prototxt", text), sdcaffe.TRAIN)
    batch = net.feed({"x": np.random.default_rng(2).standard_normal((4, 5, 8, 8)).astype(np.float32)})
    (x,) = batch.values()
    top = net.compute(batch).blobs["y"]
    _, _, _, weight, bias, kernel = (blob.detach() for blob in net.params["dense"])
    copy = x.detach().clone().requires_grad_()
    new = F.conv2d(F.relu(F.batch_norm(copy, None, None, weight, bias, training=True)), kernel, padding=1)
    made = top[:, 5:]
    kept = made != 0
    assert 0.4 < kept.float().mean() < 0.6
    torch.testing.assert_close(made, torch.where(kept, 2 * new, 0), rtol=1e-4, atol=1e-5)
    top.square().sum().backward()
    (torch.where(kept, 2 * new, 0).square().sum() + copy.square().sum()).backward()
    torch.testing.assert_close(x.grad, copy.grad, rtol=1e-4, atol=1e-4)


def test_in_bf16_it_stays_close(both):
    net = Net(both / "block.prototxt", sdcaffe.TRAIN, both / "block.caffemodel")
    inputs = {"x": np.random.default_rng(2).standard_normal((4, 5, 8, 8)).astype(np.float32)}
    exact = net.compute(net.feed(inputs)).blobs["y"]
    net.precision = "bf16"
    rough = net.compute(net.feed(inputs)).blobs["y"]
    rough.sum().backward()
    assert rough.dtype == torch.float32
    assert all(blob.grad.dtype == torch.float32 for blob in net.params["dense"] if blob.requires_grad)
    torch.testing.assert_close(rough, exact, rtol=0.1, atol=0.1)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("layers: 0 growth: 4", "layers must be at least 1, not 0"),
        ("layers: 3 growth: -1", "growth must be at least 1, not -1"),
        ("layers: 2147483647 growth: 4", "the convolutions together would hold"),
        ("layers: 3 growth: 4 dropout: 1", "dropout"),
    ],
)
def test_sizes_that_do_not_fit(tmp_path, change, says):
    layers.discover()
    param = proto.NetParameter()
    proto.text.parse(HEAD + BLOCK.replace("layers: 3 growth: 4", change), param, "net.prototxt")
    with pytest.raises(LayerError, match=says):
        Net(param)
