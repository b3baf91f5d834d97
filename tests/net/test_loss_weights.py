"""Loss weights on blobs that other layers read: losses, gradients and files as BVLC Caffe 1.0 gives them."""

from __future__ import annotations

import logging

import numpy as np
import pytest

import sdcaffe
from sdcaffe import proto
from sdcaffe import pycaffe as caffe
from sdcaffe.net import Net

DATA = """layer { name: "d" type: "DummyData" top: "t"
  dummy_data_param { shape { dim: 2 dim: 3 } data_filler { value: 1 } } }
layer { name: "x" type: "Parameter" top: "x" parameter_param { shape { dim: 2 dim: 3 } } param { lr_mult: 1 } } """
LOSS = 'layer { name: "e" type: "EuclideanLoss" bottom: "x" bottom: "t" top: "e" %s } '  # 6, where x is 3
SILENT = 'layer { name: "q" type: "Silence" bottom: "e" } '
TRIPLE = 'layer { name: "p" type: "Power" bottom: "e" top: "p" power_param { scale: 3 } loss_weight: 2 } '
SLICE = """layer { name: "s" type: "Slice" bottom: "x" top: "u" top: "v" slice_param { axis: 1 slice_point: 1 }
  loss_weight: 2 loss_weight: 3 } layer { name: "n" type: "Silence" bottom: "t" } """
FLAT = """layer { name: "f" type: "Flatten" bottom: "x" top: "f" loss_weight: 2.5 }
layer { name: "r" type: "Reduction" bottom: "f" top: "r" loss_weight: 1 }
layer { name: "n" type: "Silence" bottom: "t" } """


def read(blob):
    return f'layer {{ name: "r" type: "Power" bottom: "{blob}" top: "r" }}'


# net; the first loss, the gradient of a row of x and the file's loss_weight of Caffe; the loss that a second iteration
# with the same weights reports: Caffe then weighs a blob that others read with the gradient they gave it
CASES = {
    "a loss that Silence reads": (
        LOSS % "loss_weight: 0.5" + SILENT, 9, [0.5] * 3, {"e": [1], "e_e_0_split": [0.5, 0]}, 6,
    ),
    "a loss that a weighted layer reads": (
        LOSS % "loss_weight: 0.5" + TRIPLE, 45, [6.5] * 3, {"e": [1], "e_e_0_split": [0.5, 0], "p": [2]}, 78,
    ),
    "without a weight of its own": (LOSS % "" + TRIPLE, 42, [6] * 3, {"e": [1], "p": [2]}, 72),
    "with weight 0": (LOSS % "loss_weight: 0" + TRIPLE, 36, [6] * 3, {"e": [0], "p": [2]}, 36),
    "two weights, the first read": (SLICE + read("u"), 12, [2, 0, 0], {"u_s_0_split": [2, 0]}, 12),
    "two weights, the second read": (SLICE + read("v"), 36, [0, 3, 3], {"v_s_1_split": [3, 0]}, 36),
    "no loss layer": (FLAT, 63, [3.5] * 3, {"f_f_0_split": [2.5, 0], "r": [1]}, 63),
}  # fmt: skip
WARNINGS = {
    "a loss that Silence reads": ['"e"', "loss_weight 0.5", "counts it once more, with 1"],
    "a loss that a weighted layer reads": ['"e"', "loss_weight 0.5", "counts it once more, with 1"],
    "two weights, the first read": ['"s"', 'loss_weight 3 of top "v" is left aside'],
    "two weights, the second read": ['"s"', 'loss_weight 2 of top "u" is left aside'],
}


def net_param(text):
    param = proto.NetParameter()
    proto.text.parse(DATA + text, param, "net.prototxt")
    return param


def weights_in(path):
    message = proto.NetParameter.FromString(path.read_bytes())
    return {layer.name: list(layer.loss_weight) for layer in message.layer if layer.loss_weight}


@pytest.mark.parametrize("case", CASES)
def test_loss_gradient_and_file(tmp_path, case, caplog):
    text, loss, gradient, saved, again = CASES[case]
    with caplog.at_level(logging.WARNING, logger="sdcaffe"):
        net = Net(net_param(text), sdcaffe.TRAIN)
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == (case in WARNINGS)
    assert all(part in warnings[0] for part in WARNINGS.get(case, ()))
    x = net.params["x"][0]
    x.data.fill_(3)
    for want in (loss, again, again):
        found = net.compute(net.load()).loss
        assert found.item() == pytest.approx(want, rel=1e-6)
        x.grad = None
        found.backward()
        np.testing.assert_allclose(x.grad[0], gradient, rtol=1e-6)
    net.save(tmp_path / "n.caffemodel")
    assert weights_in(tmp_path / "n.caffemodel") == saved


@pytest.mark.parametrize("case", CASES)
def test_a_log_reports_it_and_a_script_finds_it(tmp_path, case):
    """The command line's solver and pycaffe's: the same losses, those of Caffe's own loop."""
    text, loss, _, _, again = CASES[case]
    (tmp_path / "net.prototxt").write_text(DATA + text)
    body = f'net: "{tmp_path}/net.prototxt" base_lr: 0 lr_policy: "fixed" max_iter: 3 display: 1 solver_mode: CPU'
    (tmp_path / "s.prototxt").write_text(body + f' snapshot_prefix: "{tmp_path}/s" snapshot_after_train: false')
    whole = sdcaffe.Solver(tmp_path / "s.prototxt")
    script = caffe.get_solver(str(tmp_path / "s.prototxt"))
    whole.net.params["x"][0].data.fill_(3)
    script.net.params["x"][0].data[...] = 3
    for want in (loss, again, again):
        whole.step(1)
        assert whole.losses[-1].item() == pytest.approx(want, rel=1e-6)
        assert script.net._forward(0, len(script.net.layers) - 1) == pytest.approx(want, rel=1e-6)
        script.net.backward()


def test_a_resumed_run_reports_what_the_run_that_was_not_stopped_does(tmp_path):
    text, _, _, _, again = CASES["a loss that a weighted layer reads"]
    param = proto.SolverParameter(base_lr=0, lr_policy="fixed", snapshot_prefix=str(tmp_path / "s"))
    param.net_param.CopyFrom(net_param(text))
    first, second = sdcaffe.Solver(param), sdcaffe.Solver(param)
    first.net.params["x"][0].data.fill_(3)
    first.step(1)
    second.restore(first.snapshot())
    second.step(1)
    assert second.losses[-1].item() == pytest.approx(again, rel=1e-6)


def test_a_solver_with_test_nets_warns_once(caplog):
    param = proto.SolverParameter(base_lr=0, lr_policy="fixed", test_iter=[1, 1], test_interval=10)
    param.net_param.CopyFrom(net_param(CASES["two weights, the first read"][0]))
    with caplog.at_level(logging.WARNING, logger="sdcaffe"):
        sdcaffe.Solver(param)
    assert sum("left aside" in record.getMessage() for record in caplog.records) == 1


def test_names_and_weights_of_outputs(tmp_path):
    """The log's lines of outputs, and pycaffe's blob_loss_weights."""
    text = CASES["a loss that Silence reads"][0]
    (tmp_path / "net.prototxt").write_text(DATA + text)
    net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TRAIN)
    assert net.outputs == ["e_e_0_split_0"]
    assert [net.blob_loss_weights[name] for name in ("e", "e_e_0_split_0", "e_e_0_split_1")] == [1, 0.5, 0]
