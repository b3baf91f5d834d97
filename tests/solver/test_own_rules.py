"""A policy and an update rule that a plugin brings: their fields, their numbers, their states, their mistakes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import sdcaffe
from sdcaffe import cli, layers, proto
from sdcaffe.errors import SdcaffeError, SolverError
from sdcaffe.plugins import Kind
from sdcaffe.solver.rates import learning_rate

PLUGIN = str(Path(__file__).with_name("own_rules.py"))
NET = """
name: "small"
layer { name: "data" type: "Data" top: "x" top: "label"
  data_param { source: "synthetic:train" batch_size: 16 shuffle: true seed: 3 } transform_param { scale: 0.01 } }
layer { name: "conv" type: "Convolution" bottom: "x" top: "conv" param { lr_mult: 1 } param { lr_mult: 2 }
  convolution_param { num_output: 4 kernel_size: 5 stride: 4 weight_filler { type: "xavier" } } }
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""
SOLVER = """
net: "net.prototxt" type: "DecoupledAdam" base_lr: 0.01 lr_policy: "falling_cosine" warmup: 3 max_iter: 12 momentum: 0.9
momentum2: 0.99 delta: 1e-6 decoupled_decay: 0.05 random_seed: 5 snapshot: 5 display: 1 solver_mode: CPU
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    layers.discover([PLUGIN])
    (tmp_path / "net.prototxt").write_text(NET)
    (tmp_path / "run.prototxt").write_text(SOLVER)
    return tmp_path


def test_they_train_as_float64_does(folder):
    """The rule and the policy written out in numpy, with gradients of a second net of the same start and batches."""
    solver, reference = (sdcaffe.Solver("run.prototxt") for _ in range(2))
    parameters = [item.tensor for item in reference.net.learnable]
    mean, square = ([np.zeros(tuple(p.shape)) for p in parameters] for _ in range(2))
    for i in range(12):
        rate = 0.01 * (i + 1) / 3 if i < 3 else 0.01 * (1 + np.cos(np.pi * (i - 3) / 9)) / 2
        assert solver.lr == pytest.approx(rate, rel=1e-6)
        solver.step(1)
        reference.net.zero_grad()
        reference.net.compute(reference.net.load()).loss.backward()
        for k, parameter in enumerate(parameters):
            gradient, old = (t.detach().double().numpy() for t in (parameter.grad, parameter))
            mean[k] = 0.9 * mean[k] + 0.1 * gradient
            square[k] = 0.99 * square[k] + 0.01 * gradient**2
            own_rate = rate * reference.net.learnable[k].lr_mult / (1 - 0.9 ** (i + 1))
            new = old - own_rate * (mean[k] / (np.sqrt(square[k]) + 1e-6) + 0.05 * old)
            parameter.data.copy_(torch.from_numpy(new))
    for item, parameter in zip(solver.net.learnable, parameters, strict=True):
        np.testing.assert_allclose(item.tensor.detach(), parameter.detach(), rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize("format_", ["BINARYPROTO", "HDF5"])
def test_a_run_that_goes_on_ends_as_one_that_was_not_stopped(folder, format_):
    (folder / "run.prototxt").write_text(f"{SOLVER} snapshot_format: {format_}")
    ending = ".h5" if format_ == "HDF5" else ""
    command = ["train", "run.prototxt", "--plugin", PLUGIN]
    assert cli.main(command) == 0
    whole = proto.read_state(folder / f"run_iter_12.solverstate{ending}")
    (folder / f"run_iter_12.solverstate{ending}").unlink()
    assert cli.main([*command, "--snapshot", f"run_iter_5.solverstate{ending}"]) == 0
    resumed = proto.read_state(folder / f"run_iter_12.solverstate{ending}")
    assert resumed.sdcaffe_state == whole.sdcaffe_state  # with the sum of the weights' file, generators and cursors
    assert len(resumed.history) == 8  # two for each of four blobs
    for a, b in zip(resumed.history, whole.history, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            '"falling_cosine"',
            '"mistaken"',
            r'lr_policy "mistaken": AttributeError: .*base_rate.* \(.*own_rules.py:\d+\)',
        ),
        ('"DecoupledAdam"', '"Mistaken"', r'solver type "Mistaken": KeyError: \'velocity\' \(.*own_rules.py:\d+\)'),
        ("warmup: 3", "warmup: -3", r"run.prototxt:2:\d+: warmup is -3; it counts iterations"),
        ('"DecoupledAdam"', '"DecoupledAdm"', r'unknown solver type "DecoupledAdm". Did you mean "DecoupledAdam"\?'),
    ],
)
def test_a_mistake_is_one_error_with_its_place(folder, capsys, old, new, says):
    (folder / "run.prototxt").write_text(SOLVER.replace(old, new))
    assert cli.main(["train", "run.prototxt", "--plugin", PLUGIN]) == 1
    (error,) = re.findall("^sdcaffe: error: .*", capsys.readouterr().err, re.MULTILINE)
    assert re.search(says, error), error


def test_a_plugin_takes_the_place_of_a_name_that_yields():
    class Yielding(sdcaffe.Policy):
        yields = True

    class Own(sdcaffe.Policy):
        pass

    kind = Kind("lr_policy", sdcaffe.Policy, "SolverParameter", SolverError)
    kind.register("swing")(Yielding)
    kind.register("swing")(Own)
    assert kind.get("swing") is Own
    with pytest.raises(SolverError, match="already registered"):
        kind.register("swing")(Yielding)


@pytest.mark.parametrize(
    ("method", "says"),
    [
        ("def check(self, param): pass", r"check is called on the class; write @classmethod above it \(line 4\)"),
        ("def rate(self, iteration): return 1", r"rate is called as rate\(self, iteration, steps\) \(line 4\)"),
    ],
)
def test_a_method_that_could_not_be_called_is_refused_when_the_plugin_is_loaded(tmp_path, method, says):
    file = tmp_path / "odd.py"
    file.write_text(f"import sdcaffe\n@sdcaffe.register_policy('odd')\nclass Odd(sdcaffe.Policy):\n    {method}\n")
    with pytest.raises(SdcaffeError, match=f'odd.py:2: lr_policy "odd": {says}'):
        sdcaffe.discover([str(file)])


def test_a_rate_that_is_no_number(folder):
    param = proto.SolverParameter(lr_policy="mistaken", base_lr=1)
    with pytest.raises(SolverError, match="lr_policy \"mistaken\" gave 'high', which is no rate"):
        learning_rate(param, 1, 0)


def test_a_name_that_is_taken_names_the_plugins_line(tmp_path):
    file = tmp_path / "again.py"
    file.write_text("import sdcaffe\n\n@sdcaffe.register_policy('fixed')\nclass Mine(sdcaffe.Policy):\n    pass\n")
    with pytest.raises(SdcaffeError, match=r'again.py:3: lr_policy "fixed" is already registered by sdcaffe'):
        layers.load_plugin(str(file))
