"""ReLU with relu6, Dropout as forks have it, Reshape with pixelshuffler, the filler msra with alpha."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fork_layers import gradients_agree, make, run, values
from fork_written import agree_everywhere, net_text

import sdcaffe
from sdcaffe import proto
from sdcaffe.cli import main
from sdcaffe.errors import LayerError
from sdcaffe.layers import fillers

X = values(2, 4, 3, 5) * 4  # from -8 to 8


@pytest.mark.parametrize("slope", [0, 0.25])
def test_relu6(tmp_path, monkeypatch, slope):
    want = np.array([min(v if v > 0 else slope * v, 6.0) for v in X.flat]).reshape(X.shape)
    body = f"relu_param {{ relu6: true negative_slope: {slope} }}"
    layer = make("ReLU", body, [X.shape])
    assert np.allclose(run(layer, X), want, rtol=1e-12)
    assert gradients_agree(layer, X)
    agree_everywhere(tmp_path, monkeypatch, f'type: "ReLU" {body}', [X], want)


def test_the_gradient_of_relu6_at_its_edges():
    x = torch.tensor([0.0, 6.0, 6.5, -1.0, 3.0], dtype=torch.double, requires_grad=True)
    make("ReLU", "relu_param { relu6: true }", [(5,)])(x).sum().backward()
    assert x.grad.tolist() == [0, 0, 0, 0, 1]


def test_relu6_false_is_a_plain_relu():
    layer = make("ReLU", "relu_param { relu6: false }", [(2,)])
    assert run(layer, np.array([7.0, -7.0])).tolist() == [7, 0]
    assert layer.rectifies


ONES = np.ones((40, 50))


@pytest.mark.parametrize("phase", ["TRAIN", "TEST"])
def test_dropout_that_draws_in_the_test_phase(phase):
    layer = make(
        "Dropout", "dropout_param { dropout_ratio: 0.75 sample_weights_test: true }", [ONES.shape], phase=phase
    )
    x = torch.tensor(ONES, requires_grad=True)
    first, second = layer(x), layer(x)
    for top in (first, second):
        assert set(np.unique(top.detach())) == {0.0, 4.0}
        assert 0.2 < (top > 0).double().mean() < 0.3
    assert not torch.equal(first, second)
    first.sum().backward()
    assert torch.equal(x.grad, first)


def test_dropout_that_is_scaled_in_the_test_phase_alone(tmp_path, monkeypatch):
    body = "dropout_param { dropout_ratio: 0.75 scale_train: false }"
    train = make("Dropout", body, [ONES.shape], phase="TRAIN")
    x = torch.tensor(ONES, requires_grad=True)
    top = train(x)
    assert set(np.unique(top.detach())) == {0.0, 1.0}
    assert 0.2 < top.mean() < 0.3
    top.sum().backward()
    assert torch.equal(x.grad, top)
    test = make("Dropout", body, [X.shape])
    assert np.allclose(run(test, X), X / 4, rtol=1e-7)
    assert gradients_agree(test, X)
    agree_everywhere(tmp_path, monkeypatch, f'type: "Dropout" {body}', [X], X / 4)


def test_dropout_that_draws_and_does_not_scale():
    body = "dropout_param { dropout_ratio: 0.5 sample_weights_test: true scale_train: false }"
    assert set(np.unique(run_once(make("Dropout", body, [ONES.shape])))) == {0.0, 1.0}


def run_once(layer):
    return layer(torch.tensor(ONES)).numpy()


def test_dropout_that_draws_is_not_exported(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    body = 'type: "Dropout" dropout_param { sample_weights_test: true }'
    (tmp_path / "net.prototxt").write_text(net_text(body, [X]))
    sdcaffe.Net(proto.read_net("net.prototxt")).save("net.caffemodel")
    assert main(["export", "net.prototxt", "net.caffemodel", "-o", "net.onnx"]) == 1
    assert "it draws in the test phase" in capsys.readouterr().err
    assert main(["convert", "module", "net.prototxt", "net.py"]) == 1
    assert "dropout that draws in the test phase cannot be written" in capsys.readouterr().err


def test_pixelshuffler(tmp_path, monkeypatch):
    x = values(2, 12, 3, 4)
    want = np.empty((2, 3, 6, 8))
    for n, c, h, w in np.ndindex(want.shape):
        want[n, c, h, w] = x[n, 4 * c + 2 * (h % 2) + w % 2, h // 2, w // 2]
    body = "reshape_param { pixelshuffler: 2 }"
    layer = make("Reshape", body, [x.shape])
    assert np.array_equal(run(layer, x), want)
    assert gradients_agree(layer, x)
    agree_everywhere(tmp_path, monkeypatch, f'type: "Reshape" {body}', [x], want)


def test_pixelshuffler_of_one_is_a_reshape():
    layer = make("Reshape", "reshape_param { pixelshuffler: 1 shape { dim: 0 dim: -1 } }", [(2, 3, 4)])
    assert layer.top_shapes == [(2, 12)]


@pytest.mark.parametrize(
    ("shape", "side", "message"),
    [((1, 6, 2, 2), 2, r"6 channels are no multiple of 2\^2"), ((1, 4), 2, r"needs a bottom \(n, c, h, w\)"),
     ((1, 4, 2, 2), 0, "must be at least 1, not 0")],
)  # fmt: skip
def test_pixelshuffler_that_does_not_fit(shape, side, message):
    with pytest.raises(LayerError, match=message) as caught:
        make("Reshape", f"reshape_param {{ pixelshuffler: {side} }}", [shape])
    assert caught.value.field == "pixelshuffler"


def test_msra_for_a_leaky_relu():
    """Equation 15 of He et al. 2015: (1 + alpha^2) n variance / 2 is 1."""
    blob = torch.empty(300, 20, 5, 5)
    for alpha in (0.0, 0.5, 2.0):
        torch.manual_seed(1)
        fillers.fill(blob, proto.FillerParameter(type="msra", alpha=alpha))
        assert (1 + alpha**2) * 500 * blob.var() / 2 == pytest.approx(1, abs=0.02)
        assert blob.mean() == pytest.approx(0, abs=1e-3)
