"""Numbers that random inputs hardly meet, and the sizes that an export leaves free or says it cannot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx_nets import write_net

from sdcaffe.cli import main
from sdcaffe.converters.onnx_export import export
from sdcaffe.converters.onnx_open import Options
from sdcaffe.converters.onnx_runtime import open_session
from sdcaffe.errors import GraphError

SMALL = """
name: "small"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 4 dim: 6 } } }
layer { name: "mvn" type: "MVN" bottom: "data" top: "mvn" }
layer { name: "norm" type: "Normalize" bottom: "data" top: "norm" norm_param { across_spatial: false } }
layer { name: "power" type: "Power" bottom: "data" top: "power" power_param { power: -0.5 shift: 1e-10 } }
layer { name: "log" type: "Log" bottom: "data" top: "log" log_param { shift: 1e-10 } }
layer { name: "learn" type: "BN" bottom: "data" top: "learn" top: "mean" top: "variance"
  bn_param { scale_filler { value: 1 } } }
layer { name: "batch" type: "BN" bottom: "data" top: "batch" bn_param { decay: 0.1 } }
layer { name: "pool" type: "Pooling" bottom: "data" top: "pool"
  pooling_param { pool: STOCHASTIC kernel_size: 2 stride: 2 } }
"""


def test_what_keeps_from_dividing_by_0_is_not_optimized_away(tmp_path: Path) -> None:
    model, weights = write_net(SMALL, tmp_path)
    done = export(model, weights, str(tmp_path / "net.onnx"))
    assert done.inputs == ["data (batch x 3 x height x width)"]
    x = np.random.default_rng(0).uniform(0.1, 1, (3, 3, 4, 8))
    x[:, 1] = 0
    x[0] = 0
    axes = {"keepdims": True}
    mean, variance = x.mean((0, 2, 3), **axes), x.var((0, 2, 3), **axes)
    centred = x - x.mean((2, 3), **axes)
    windows = x.reshape(3, 3, 2, 2, 4, 2)
    sums = windows.sum((3, 5))
    expected = {
        "mvn": centred / (x.std((2, 3), **axes) + 1e-9),
        "norm": x / np.sqrt((x * x).sum(1, **axes) + 1e-10),
        "power": (x + 1e-10) ** -0.5,
        "log": np.log(x + 1e-10),
        "learn": (x - mean) / np.sqrt(variance + 1e-9),
        "mean": mean,
        "variance": variance,
        "batch": (x - mean) / np.sqrt(variance + 1e-10),
        "pool": np.divide((windows**2).sum((3, 5)), sums, out=np.zeros_like(sums), where=sums > 0),
    }
    session = open_session(str(tmp_path / "net.onnx"), "net.onnx")
    got = dict(zip(expected, session.run(list(expected), {"data": x.astype(np.float32)}), strict=True))
    for name, values in expected.items():
        assert got[name].shape == values.shape, name
        assert np.abs(got[name] - values).max() <= 1e-4 * np.abs(values).max(), name


UNIT = """
name: "unit"
layer { name: "in" type: "Input" top: "cell" top: "gates" top: "cont"
  input_param { shape { dim: 1 dim: 2 dim: 3 } shape { dim: 1 dim: 2 dim: 12 } shape { dim: 1 dim: 2 } } }
layer { name: "unit" type: "LSTMUnit" bottom: "cell" bottom: "gates" bottom: "cont" top: "next" top: "hidden" }
"""


def test_an_lstm_unit_takes_any_number_of_streams(tmp_path: Path) -> None:
    model, weights = write_net(UNIT, tmp_path)
    done = export(model, weights, str(tmp_path / "net.onnx"))
    assert done.inputs == ["cell (1 x batch x 3)", "gates (1 x batch x 12)", "cont (1 x batch)"]
    assert done.fixed == ""
    random = np.random.default_rng(0)
    cell, gates, cont = random.normal(size=(1, 5, 3)), random.normal(size=(1, 5, 12)), np.array([[1, 0, 1, 1, 0]])
    i, f, o = (1 / (1 + np.exp(-gate)) for gate in np.split(gates[..., :9], 3, -1))
    after = cont[..., None] * f * cell + i * np.tanh(gates[..., 9:])
    given = {"cell": cell, "gates": gates, "cont": cont}
    session = open_session(str(tmp_path / "net.onnx"), "net.onnx")
    got = session.run(["next", "hidden"], {name: values.astype(np.float32) for name, values in given.items()})
    np.testing.assert_allclose(got[0], after, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(got[1], o * np.tanh(after), rtol=1e-4, atol=1e-5)


def test_a_batch_that_a_layer_fixes_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = """name: "fixed"
        layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 } } }
        layer { name: "s" type: "Scale" bottom: "data" top: "s" scale_param { axis: 0 num_axes: -1 } }"""
    model, weights = write_net(text, tmp_path)
    assert main(["export", model, weights, "-o", str(tmp_path / "net.onnx")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "inputs   data (2 x 3)" in lines
    assert 'batch    fixed: blob 0 of layer "s" has shape 2 3 (6) but the layer needs 4 3 (12)' in lines


@pytest.mark.parametrize("fold", [True, False])
def test_an_input_may_be_an_output_too(fold: bool, tmp_path: Path) -> None:
    text = """name: "same"
        layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 } } }
        layer { name: "drop" type: "Dropout" bottom: "data" top: "drop" }
        layer { name: "relu" type: "ReLU" bottom: "data" top: "relu" }"""
    model, weights = write_net(text, tmp_path)
    done = export(model, weights, str(tmp_path / "net.onnx"), Options(fold=fold))
    assert done.outputs == ["drop (batch x 3)", "relu (batch x 3)"]
    x = np.array([[-1, 2, 3], [4, -5, 0]], np.float32)
    same, positive = open_session(str(tmp_path / "net.onnx"), "net.onnx").run(["drop", "relu"], {"data": x})
    assert np.array_equal(same, x)
    assert np.array_equal(positive, np.maximum(x, 0))


def test_a_net_of_losses_alone_is_told_what_goes(tmp_path: Path) -> None:
    text = """name: "losses"
        layer { name: "data" type: "Input" top: "a" top: "b" input_param { shape { dim: 2 dim: 3 } } }
        layer { name: "apart" type: "EuclideanLoss" bottom: "a" bottom: "b" top: "apart" }"""
    model, weights = write_net(text, tmp_path)
    with pytest.raises(GraphError, match=r'no layer gives an output, without .*"apart" \(EuclideanLoss\)'):
        export(model, weights, str(tmp_path / "net.onnx"))
