"""A layer of a stranger's own, in one file that knows nothing but `from sdcaffe import Layer, register`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import sdcaffe
from sdcaffe import proto
from sdcaffe.errors import PrototxtError
from sdcaffe.layers import load_plugin

PLUGIN = Path(__file__).parents[2] / "examples" / "focal_loss.py"
NET = """
name: "focal"
layer { name: "in" type: "Input" top: "x" top: "label" input_param { shape { dim: 8 dim: 4 } shape { dim: 8 } } }
layer {
  name: "fc" type: "InnerProduct" bottom: "x" top: "fc"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } }
}
layer {
  name: "loss" type: "FocalLoss" bottom: "fc" bottom: "label" top: "loss" loss_weight: 0.5
  focal_loss_param { gamma: 1.5 }
}
"""


@pytest.fixture
def net_file(tmp_path):
    load_plugin(str(PLUGIN))
    path = tmp_path / "net.prototxt"
    path.write_text(NET)
    return path


def test_the_file_is_under_30_lines():
    assert len(PLUGIN.read_text().splitlines()) < 30


def test_it_computes_and_learns_as_a_built_in_does(net_file):
    torch.manual_seed(0)
    net = sdcaffe.Net(net_file, sdcaffe.TRAIN)
    x, label = torch.randn(8, 4), torch.arange(8) % 5
    total, blobs = net.compute(net.feed({"x": x, "label": label.float()}), keep=("fc",))
    z = blobs["fc"].detach().double().numpy()
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    p = p[np.arange(8), label.numpy()]
    assert blobs["loss"].item() == pytest.approx(-((1 - p) ** 1.5 * np.log(p)).mean(), rel=1e-5)
    assert total.item() == pytest.approx(0.5 * blobs["loss"].item())
    total.backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in net.params["fc"])


def test_its_fields_survive_binary_and_text(net_file):
    net = proto.read_net(net_file)
    again = proto.NetParameter.FromString(net.SerializeToString())
    assert again.layer[2].focal_loss_param.gamma == 1.5
    assert "focal_loss_param {\n    gamma: 1.5\n  }" in proto.text.format(again)


def test_a_wrong_field_is_an_error_at_its_place(net_file):
    net_file.write_text(NET.replace("gamma: 1.5", "gama: 1.5"))
    with pytest.raises(PrototxtError) as caught:
        proto.read_net(net_file)
    message = str(caught.value)
    assert "net.prototxt:10:" in message
    assert "gama" in message
    assert 'Did you mean "gamma"?' in message


SOLVER = """
net: "{net}"
base_lr: 0.1 lr_policy: "fixed" momentum: 0.9 max_iter: 3 display: 1 snapshot_prefix: "{prefix}"
solver_mode: CPU random_seed: 1
"""


def test_the_command_line_takes_the_file(tmp_path):
    net = NET.replace('type: "Input"', 'type: "DummyData"').replace(
        "input_param { shape { dim: 8 dim: 4 } shape { dim: 8 } }",
        "dummy_data_param { shape { dim: 8 dim: 4 } shape { dim: 8 } "
        'data_filler { type: "gaussian" } data_filler { type: "constant" value: 2 } }',
    )
    (tmp_path / "net.prototxt").write_text(net)
    solver = tmp_path / "solver.prototxt"
    solver.write_text(SOLVER.format(net=tmp_path / "net.prototxt", prefix=tmp_path / "focal"))
    command = [sys.executable, "-m", "sdcaffe", "train", "--solver", str(solver)]
    done = subprocess.run([*command, "--plugin", str(PLUGIN)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "focal_iter_3.caffemodel").exists()
    without = subprocess.run(command, capture_output=True, text=True)
    assert without.returncode == 1
    assert "focal_loss_param" in without.stderr or "FocalLoss" in without.stderr
    assert "Traceback" not in without.stderr


def test_a_learned_blob_of_ones_own_is_filled_trained_and_saved(tmp_path: Path) -> None:
    """Features 1, centres 0 in class 1 alone: loss 2 * 3 / (2 * 2), gradient -(1 - 0) / 2 twice, for that class."""
    sdcaffe.discover([str(PLUGIN.with_name("center_loss.py"))])
    text = """
    layer { name: "x" type: "DummyData" top: "x" top: "y" dummy_data_param { shape { dim: 2 dim: 3 } shape { dim: 2 }
      data_filler { value: 1 } data_filler { value: 1 } } }
    layer { name: "center" type: "MyCenterLoss" bottom: "x" bottom: "y" top: "loss"
      my_center_loss_param { num_output: 4 center_filler { type: "constant" value: 0 } } }
    """
    param = proto.SolverParameter()
    proto.text.parse('base_lr: 0.25 lr_policy: "fixed" solver_mode: CPU', param, "solver")
    proto.text.parse(text, param.net_param, "net")
    solver = sdcaffe.Solver(param)
    solver.step(1)
    assert solver.loss == 1.5
    centers = solver.net.params["center"][0].tolist()
    assert centers == [[0.0] * 3, [0.25] * 3, [0.0] * 3, [0.0] * 3]
    solver.net.save(tmp_path / "c.caffemodel")
    assert proto.read_weights(tmp_path / "c.caffemodel")[-1].blobs[0].tolist() == centers
