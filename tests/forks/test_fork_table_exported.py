"""Every layer of a fork as an ONNX file and as a PyTorch module: its own numbers, nothing, or an error in words."""

from __future__ import annotations

import inspect

import numpy as np
import onnxruntime
import pytest
import torch
from fork_examples import DATA, EXAMPLES
from written import open_module

import sdcaffe
from sdcaffe import proto
from sdcaffe.cli import main

sdcaffe.discover()
LAYERS = {name: example for name, example in EXAMPLES.items() if name not in DATA}
WRITTEN = [name for name, example in LAYERS.items() if example.out == "written"]
PLAIN = ("left out", "InnerProduct", "Split")  # what becomes of a layer that is deployed as another, or not at all
REFUSED = [name for name, example in LAYERS.items() if example.out not in ("written", *PLAIN)]
WIDTH = 16  # layers a net: an export has a cost of its own
NETS = [WRITTEN[i : i + WIDTH] for i in range(0, len(WRITTEN), WIDTH)]


def inputs(name, example):
    """Input layers for an example called `name`, and what they hold."""
    text, arrays = "", {}
    for i, bottom in enumerate(example.bottoms):
        dims = " ".join(f"dim: {n}" for n in bottom.array.shape)
        text += f'layer {{ name: "{name}_{i}" type: "Input" top: "{name}_{i}" input_param {{ shape {{ {dims} }} }} }}\n'
        arrays[f"{name}_{i}"] = bottom.array
    return text, arrays


def made(names):
    """A net of examples with drawn weights, written to net.prototxt and net.caffemodel, and its inputs."""
    text, arrays = "", {}
    for name in names:
        more, own = inputs(name, EXAMPLES[name])
        text += more + EXAMPLES[name].layer(name, list(own))
        arrays |= own
    with open("net.prototxt", "w") as file:
        file.write(text)
    net = sdcaffe.Net(proto.read_net("net.prototxt"), phase=proto.TEST)
    torch.manual_seed(2)
    for layer in net.layers.values():
        for blob in layer.blobs:
            blob.data.uniform_(0.2, 1)
    net.save("net.caffemodel")
    return net, arrays


def same(found, want, name):
    found, want = np.asarray(found), want.detach().numpy()
    assert found.shape == want.shape, name
    assert np.abs(found - want).max() <= 1e-5 * max(np.abs(want).max(), 1e-6), name


def tops(names):
    return {f"{name}{i}": name for name in names for i in range(EXAMPLES[name].tops)}


@pytest.mark.slow
@pytest.mark.parametrize("names", NETS, ids=[f"{names[0]}_and_{len(names) - 1}_more" for names in NETS])
def test_onnx_runtime_computes_what_the_net_does(names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    net, arrays = made(names)
    want = net({name: torch.tensor(array) for name, array in arrays.items()})
    assert main(["export", "net.prototxt", "net.caffemodel", "-o", "net.onnx"]) == 0
    session = onnxruntime.InferenceSession("net.onnx", providers=["CPUExecutionProvider"])
    outputs = [output.name for output in session.get_outputs()]
    assert sorted(outputs) == sorted(tops(names))
    given = {one.name: arrays[one.name] for one in session.get_inputs()}
    for top, found in zip(outputs, session.run(None, given), strict=True):
        same(found, want[top], top)


MODULES = [name for name in WRITTEN if not EXAMPLES[name].module]


def test_the_module_computes_what_the_net_does(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    net, arrays = made(MODULES)
    want = net({name: torch.tensor(array) for name, array in arrays.items()})
    assert main(["convert", "module", "net.prototxt", "module.py", "--weights", "net.caffemodel"]) == 0
    module = open_module(tmp_path / "module.py")
    found = module(*[torch.tensor(arrays[name]) for name in inspect.signature(module.forward).parameters])
    for top, name in tops(MODULES).items():
        same(found[top].detach(), want[top], name)


@pytest.mark.parametrize(
    "name", [name for name in LAYERS if LAYERS[name].module or name in set(REFUSED) - set(MODULES)]
)
def test_a_module_that_cannot_be_says_why(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    made([name])
    assert main(["convert", "module", "net.prototxt", "module.py"]) == 1
    found = capsys.readouterr().err
    assert EXAMPLES[name].module or EXAMPLES[name].out in found
    assert f'"{name}"' in found
    assert not (tmp_path / "module.py").exists()


@pytest.mark.parametrize("name", REFUSED)
def test_an_onnx_file_that_cannot_be_says_why(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    made([name])
    assert main(["export", "net.prototxt", "net.caffemodel", "-o", "net.onnx"]) == 1
    found = capsys.readouterr().err
    assert EXAMPLES[name].out in found
    assert f'"{name}"' in found
    assert not (tmp_path / "net.onnx").exists()


@pytest.mark.slow
def test_what_judges_or_trains_is_left_out(tmp_path, monkeypatch):
    """Of a net with every such layer the file has the one that stays, and a layer beside them."""
    monkeypatch.chdir(tmp_path)
    gone = [name for name, example in LAYERS.items() if example.out in PLAIN]
    net, arrays = made([*gone, "Flip"])
    assert main(["export", "net.prototxt", "net.caffemodel", "-o", "net.onnx"]) == 0
    assert main(["convert", "module", "net.prototxt", "module.py", "--weights", "net.caffemodel"]) == 0
    session = onnxruntime.InferenceSession("net.onnx", providers=["CPUExecutionProvider"])
    outputs = [output.name for output in session.get_outputs()]
    assert {"Flip0", "LargeMarginInnerProduct0", "HomoMeanLoss0"} <= set(outputs)
    weight = net.layers["LargeMarginInnerProduct"].blobs[0].detach().numpy()
    want = {
        "Flip0": arrays["Flip_0"][:, :, ::-1, ::-1],
        "LargeMarginInnerProduct0": arrays["LargeMarginInnerProduct_0"] @ weight.T,
        "HomoMeanLoss0": arrays["HomoMeanLoss_0"],
    }
    given = {one.name: arrays[one.name] for one in session.get_inputs()}
    found = dict(zip(outputs, session.run(None, given), strict=True))
    module = open_module(tmp_path / "module.py")
    again = module(*[torch.tensor(arrays[name]) for name in inspect.signature(module.forward).parameters])
    for top, array in want.items():
        same(found[top], torch.tensor(array.copy()), top)
        same(again[top].detach(), torch.tensor(array.copy()), top)
    assert not set(outputs) & set(tops([name for name in gone if EXAMPLES[name].loss]))
