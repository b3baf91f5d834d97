"""Layers of type "Python", unmodified, in nets that train and in pycaffe's."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pycaffe_nets import input_layer, layer, net_of, normal, product

import sdcaffe
from sdcaffe import proto
from sdcaffe import pycaffe as caffe
from sdcaffe.errors import LayerError

HERE = Path(__file__).parent
GOLDENS = HERE.parent / "goldens"


@pytest.fixture(autouse=True)
def found(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))


def python(name, bottoms, tops, kind, param_str="", body="", module="scaling_layers"):
    param = f"python_param {{ module: '{module}' layer: '{kind}' param_str: '{param_str}' }}"
    return layer(name, "Python", bottoms, tops, f"{param} {body}")


SCALING = input_layer("data", 2, 3, 4, 5) + python("scale", "data", "y", "Scaling", '{"start": 3}')


def torch_net(text, phase=sdcaffe.TRAIN, **options):
    message = proto.NetParameter()
    proto.text.parse(text, message, "net.prototxt")
    return sdcaffe.Net(message, phase, **options)


# ---------------------------------------------------------------- in nets that train


def test_forward_gradients_and_parameters_of_a_python_layer():
    net, x, seed = torch_net("force_backward: true\n" + SCALING), normal(2, 3, 4, 5), normal(2, 3, 4, 5, seed=1)
    batch = net.feed({"data": x})
    assert net.blob_shapes["y"] == (2, 3, 4, 5)
    assert [item.layer for item in net.learnable] == ["scale"]
    net.params["scale"][0].data.copy_(torch.tensor([1.0, -2.0, 3.0]))
    out = net.compute(batch).blobs["y"]
    (out * torch.from_numpy(seed)).sum().backward()
    factor = np.array([1.0, -2.0, 3.0]).reshape(1, 3, 1, 1)
    np.testing.assert_allclose(out.detach().numpy(), x * factor, rtol=1e-6)
    np.testing.assert_allclose(next(iter(batch.values())).grad.numpy(), seed * factor, rtol=1e-6)
    np.testing.assert_allclose(net.params["scale"][0].grad.numpy(), (seed * x).sum((0, 2, 3)), rtol=1e-4)


def test_blobs_start_as_setup_fills_them_and_are_saved_and_loaded(tmp_path):
    net = torch_net(SCALING)
    assert net.params["scale"][0].tolist() == [3, 3, 3]
    net.params["scale"][0].data.fill_(7)
    net.save(tmp_path / "a.caffemodel")
    other = torch_net(SCALING, weights=tmp_path / "a.caffemodel")
    np.testing.assert_array_equal(
        other.forward({"data": np.ones((2, 3, 4, 5))})["y"].detach(), np.full((2, 3, 4, 5), 7)
    )


def test_what_a_layer_writes_into_its_blobs_stays_there():
    net = torch_net(input_layer("data", 1) + python("count", "data", "n", "Counting"), sdcaffe.TEST)
    for expected in (1, 2):
        assert net.forward({"data": np.zeros(1)})["n"].tolist() == [expected, sdcaffe.TEST]
    assert net.params["count"][0].tolist() == [2]


def test_a_layer_in_place_leaves_its_bottom_to_the_layer_below():
    text = "force_backward: true\n" + input_layer("data", 2, 3) + layer("tanh", "TanH", "data", "y")
    net, x = torch_net(text + python("sq", "y", "y", "Square")), normal(2, 3)
    batch = net.feed({"data": x})
    net.compute(batch).blobs["y"].sum().backward()
    tanh = np.tanh(x.astype(np.float64))
    np.testing.assert_allclose(next(iter(batch.values())).grad.numpy(), 2 * tanh * (1 - tanh**2), rtol=1e-4, atol=1e-6)


def test_what_follows_a_python_layer_takes_its_new_shapes():
    text = python("data", "", "image label", "Growing") + layer(
        "pool", "Pooling", "image", "pool", "pooling_param { pool: MAX kernel_size: 2 stride: 2 }"
    )
    net = torch_net(text + layer("sum", "Reduction", "pool", "sum"))
    for size in (2, 4, 6):
        kept = net.compute(net.load(), keep=["pool"]).blobs["pool"]
        want = np.arange(size**2).reshape(size // 2, 2, size // 2, 2).max((1, 3))
        np.testing.assert_array_equal(kept[0, 0], want)


def test_the_papers_losses_as_python_layers_train_as_recorded(monkeypatch):
    """sd_resnet8 was trained in BVLC Caffe with these very layers."""
    run = GOLDENS / "training" / "sd_resnet8"
    monkeypatch.syspath_prepend(str(GOLDENS))
    monkeypatch.chdir(run)
    trace, perturbed = np.load("trace.npz"), np.load("trace_perturbed.npz")
    solver = sdcaffe.Solver(sdcaffe.read_solver("solver.prototxt"), weights="init.caffemodel", device="cpu")
    losses, compute = {"loss_a": [], "loss_b": [], "kl": [], "mmd": []}, solver.net.compute

    def watched(batch, keep=()):
        result = compute(batch, keep)
        for name, values in losses.items():
            values.append(result.blobs[name].item())
        return result

    monkeypatch.setattr(solver.net, "compute", watched)
    solver.step(len(trace["kl"]))
    for name, values in losses.items():
        drift = np.maximum.accumulate(np.abs(perturbed[name] - trace[name]))
        assert (np.abs(values - trace[name]) <= 10 * drift + 1e-5 * np.abs(trace[name]).max()).all(), name
    solver.close()


# ---------------------------------------------------------------- in pycaffe's nets


def test_a_python_layer_works_on_the_nets_own_blobs(tmp_path):
    net, x, seed = net_of(tmp_path, "force_backward: true\n" + SCALING), normal(2, 3, 4, 5), normal(2, 3, 4, 5, seed=1)
    net.params["scale"][0].data[...] = [1, -2, 3]
    factor = np.array([1.0, -2.0, 3.0]).reshape(1, 3, 1, 1)
    np.testing.assert_allclose(net.forward(data=x)["y"], x * factor, rtol=1e-6)
    for count in (1, 2):  # its diffs add up
        np.testing.assert_allclose(net.backward(y=seed)["data"], seed * factor, rtol=1e-6)
        np.testing.assert_allclose(net.params["scale"][0].diff, count * (seed * x).sum((0, 2, 3)), rtol=1e-4)
    instance = net.layers[1]
    assert type(instance).__name__ == "Scaling"
    assert instance.blobs[0] is net.params["scale"][0]
    assert instance.reshapes == 2  # once at set-up, once before forward


def test_a_python_layer_in_place_has_one_blob(tmp_path):
    text = "force_backward: true\n" + input_layer("data", 2, 3) + product("ip", "data", 2)
    net = net_of(tmp_path, text + python("sq", "ip", "ip", "Square"))
    net.forward(data=normal(2, 3), end="ip")
    before = net.blobs["ip"].data.astype(np.float64)
    net.forward(start="sq")
    np.testing.assert_allclose(net.blobs["ip"].data, before**2, rtol=1e-6)
    net.blobs["ip"].diff[...] = 1
    net.backward(end="sq")
    np.testing.assert_allclose(net.blobs["ip"].diff, 2 * before, rtol=1e-6)


def test_a_data_layer_that_grows_reshapes_what_follows(tmp_path):
    text = python("data", "", "image label", "Growing") + layer(
        "pool", "Pooling", "image", "pool", "pooling_param { pool: MAX kernel_size: 2 stride: 2 }"
    )
    net = net_of(tmp_path, text)
    shapes = []
    for _ in range(3):
        net.forward()
        shapes.append(net.blobs["pool"].shape)
    assert shapes == [(1, 1, 1, 1), (1, 1, 2, 2), (1, 1, 3, 3)]


def test_a_train_net_and_its_test_net_share_a_python_layers_blobs(tmp_path):
    text = (
        layer("data", "DummyData", "", "data label", "dummy_data_param { shape { dim: 2 dim: 3 } shape { dim: 2 } }")
        + python("scale", "data", "y", "Scaling", '{"start": 2}')
        + layer("loss", "SoftmaxWithLoss", "y label", "loss")
    )
    (tmp_path / "net.prototxt").write_text(text)
    (tmp_path / "solver.prototxt").write_text(
        f'net: "{tmp_path}/net.prototxt" test_iter: 1 test_interval: 10 base_lr: 0.1 lr_policy: "fixed"'
    )
    solver = caffe.get_solver(str(tmp_path / "solver.prototxt"))
    solver.net.params["scale"][0].data[...] = 5
    assert solver.test_nets[0].layers[1].type == "Python"
    assert (solver.test_nets[0].params["scale"][0].data == 5).all()
    assert solver.test_nets[0].layer_dict["scale"] is not solver.net.layer_dict["scale"]


# ---------------------------------------------------------------- errors


def line_of(text):
    source = (HERE / "scaling_layers.py").read_text().split("\n")
    return next(i for i, line in enumerate(source, 1) if text in line)


@pytest.mark.parametrize("method", ["setup", "reshape", "forward", "backward"])
def test_what_a_layer_raises_is_told_with_its_own_line(method):
    text = "force_backward: true\n" + input_layer("data", 2) + python("bad", "data", "y", "Failing", method)
    with pytest.raises(LayerError) as caught:
        torch_net(text).forward({"data": np.zeros(2)})["y"].sum().backward()
    place, raised = line_of("raise KeyError"), line_of(f'self.check("{method}")')
    assert str(caught.value) == (
        f'{HERE}/scaling_layers.py:{place}: layer "bad" (Python, scaling_layers.Failing) raised in {method}: '
        f"KeyError: 'no such image' ({method} scaling_layers.py:{raised} > check scaling_layers.py:{place})"
    )


@pytest.mark.parametrize("method", ["setup", "forward", "backward"])
def test_a_script_gets_the_exception_itself_and_a_note(method, tmp_path):
    text = "force_backward: true\n" + input_layer("data", 2) + python("bad", "data", "y", "Failing", method)

    def run():
        net = net_of(tmp_path, text)
        net.forward()
        net.backward()

    with pytest.raises(KeyError, match="no such image") as caught:
        run()
    (note,) = caught.value.__notes__
    assert f'layer "bad" (Python, scaling_layers.Failing) raised in {method}: KeyError' in note


@pytest.mark.parametrize(
    ("module", "kind", "message"),
    [
        ("no_such_layers", "A", 'no module "no_such_layers": put its folder on PYTHONPATH'),
        ("no_such.layers", "A", 'no module "no_such.layers"'),
        ("scaling_layers", "Scalling", r'scaling_layers.py\) has no class "Scalling"'),
        ("scaling_layers", "NoLayer", '"NoLayer" of .*scaling_layers.py does not derive from caffe.Layer'),
        ("", "A", "python_param gives a module"),
    ],
)
def test_a_class_that_is_not_there_is_named(module, kind, message):
    with pytest.raises(LayerError, match=message):
        torch_net(input_layer("data", 2) + python("p", "data", "y", kind, module=module))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import caffe\nx = 1 / 0\n", r"broken_layer.py:2: .* raised in importing broken_layer: ZeroDivisionError"),
        (
            "import caffe\nx = = 1\n",
            r"broken_layer.py:2: .* raised in importing broken_layer: SyntaxError: invalid syntax",
        ),
        (
            "import caffe\nclass A(caffe.Layer):\n    def __init__(self, p):\n        self.x\n",
            r"py:4: .* in __init__: Attr",
        ),
    ],
)
def test_a_module_that_cannot_be_used_is_told_with_its_line(source, message, tmp_path, monkeypatch):
    (tmp_path / "broken_layer.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "broken_layer", raising=False)
    with pytest.raises(LayerError, match=message):
        torch_net(input_layer("data", 2) + python("p", "data", "y", "A", module="broken_layer"))
    sys.modules.pop("broken_layer", None)


# ---------------------------------------------------------------- the command line

TRAINED = (
    layer("data", "DummyData", "", "data label", "dummy_data_param { shape { dim: 2 dim: 3 } shape { dim: 2 } }")
    + python("own", "data", "y", "Own", module="own_layer")
    + layer("loss", "SoftmaxWithLoss", "y label", "loss")
)
OWN = """
import caffe

class Own(caffe.Layer):
    def setup(self, bottom, top):
        self.blobs.add_blob(3)

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        {forward}
        top[0].data[...] = bottom[0].data + self.blobs[0].data

    def backward(self, top, propagate_down, bottom):
        self.blobs[0].diff[...] += top[0].diff.sum(0)
"""


def train(folder, forward):
    (folder / "own_layer.py").write_text(OWN.replace("{forward}", forward))
    (folder / "net.prototxt").write_text(TRAINED)
    (folder / "solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 1 lr_policy: "fixed" max_iter: 2 snapshot_prefix: "own" solver_mode: CPU'
    )
    command = [sys.executable, "-m", "sdcaffe", "train", "solver.prototxt"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    root = str(HERE.parents[1])
    return subprocess.run(
        command, cwd=folder, env={**environment, "PYTHONPATH": root}, capture_output=True, text=True, timeout=300
    )


def test_train_finds_a_layer_in_the_current_directory_and_trains_its_blobs(tmp_path):
    done = train(tmp_path, "pass")
    assert done.returncode == 0, done.stderr
    saved = {entry.name: entry.blobs for entry in sdcaffe.read_weights(tmp_path / "own_iter_2.caffemodel")}
    logits = np.zeros(3)
    for _ in range(2):  # softmax regression on label 0, from zero, with rate 1
        p = np.exp(logits) / np.exp(logits).sum()
        logits = logits - (p - [1, 0, 0])
    np.testing.assert_allclose(saved["own"][0], logits, rtol=1e-5)


def test_train_tells_what_a_layer_raises_in_one_line(tmp_path):
    done = train(tmp_path, 'raise ValueError("bad\\nbox")')
    assert done.returncode == 1
    error = done.stderr.strip().split("\n")[-1]
    assert "Traceback" not in done.stderr
    assert re.fullmatch(
        r'sdcaffe: error: .*own_layer\.py:12: layer "own" \(Python, own_layer\.Own\) raised in forward: '
        r"ValueError: bad box \(forward own_layer\.py:12\)",
        error,
    )
