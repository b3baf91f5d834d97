"""The neuron layers: values in float64 numpy beyond the recordings, extremes, draws, and checks of a prototxt."""

from __future__ import annotations

from collections.abc import Callable

import gradients
import numpy as np
import pytest
import torch
from golden import build, close, one_layer

from sdcaffe.errors import LayerError

X = np.random.RandomState(0).randn(2, 3, 4)
POSITIVE = gradients.positive((2, 3, 4))

VALUES: list[tuple[str, str, np.ndarray, Callable[[np.ndarray], np.ndarray]]] = [
    ("ReLU", "relu_param { negative_slope: -0.25 }", X, lambda x: np.where(x > 0, x, -0.25 * x)),
    ("ReLU", "relu_param { engine: CUDNN }", X, lambda x: np.maximum(x, 0)),
    ("Sigmoid", "sigmoid_param { engine: CAFFE }", X * 9, lambda x: 1 / (1 + np.exp(-x))),
    ("TanH", "tanh_param { engine: CUDNN }", X, np.tanh),
    ("ELU", "", X, lambda x: np.where(x > 0, x, np.exp(x) - 1)),
    ("AbsVal", "", X, np.abs),
    ("BNLL", "", X * 20, lambda x: np.logaddexp(x, 0)),
    ("Clip", "clip_param { min: 0 max: 0 }", X, lambda x: x * 0),
    ("Clip", "clip_param { min: 1 max: 0.5 }", X, lambda x: x * 0 + 1),
    ("Exp", "exp_param { base: 2 shift: 1.5 }", X, lambda x: 2 ** (1.5 + x)),
    ("Exp", "exp_param { scale: -0.5 }", X, lambda x: np.exp(-0.5 * x)),
    ("Exp", "exp_param { base: 1 scale: 3 }", X, lambda x: np.ones_like(x)),
    ("Log", "log_param { base: 2 }", POSITIVE, np.log2),
    ("Log", "log_param { base: 0.5 scale: 4 shift: 0.25 }", POSITIVE, lambda x: -np.log2(0.25 + 4 * x)),
    ("Power", "", X, lambda x: x),
    ("Power", "power_param { power: 3 }", X, lambda x: x**3),
    ("Power", "power_param { power: -2 scale: 0.5 shift: 1 }", POSITIVE, lambda x: (1 + 0.5 * x) ** -2.0),
    ("Power", "power_param { power: 2 scale: 0 shift: 3 }", X, lambda x: x * 0 + 9),
    ("Power", "power_param { power: 0 }", X * 0, lambda x: x + 1),
    ("Swish", "", X, lambda x: x / (1 + np.exp(-x))),
    ("Swish", "swish_param { beta: -0.5 }", X, lambda x: x / (1 + np.exp(0.5 * x))),
    ("Threshold", "", X, lambda x: (x > 0) * 1.0),
    ("Threshold", "threshold_param { threshold: -0.5 }", X, lambda x: (x > -0.5) * 1.0),
    ("Dropout", "dropout_param { dropout_ratio: 0 }", X, lambda x: x),
]


@pytest.mark.parametrize(("kind", "body", "bottom", "function"), VALUES)
def test_values(kind: str, body: str, bottom: np.ndarray, function: Callable[[np.ndarray], np.ndarray]) -> None:
    layer, (tensor,) = gradients.double(one_layer(kind, body), [bottom])
    close(layer(tensor), function(bottom), tolerance=1e-12)
    assert np.array_equal(tensor.numpy(), bottom), "the layer wrote into its bottom"


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (2, 3, 2, 2, 2)])
def test_prelu_has_a_slope_a_channel_or_one(shape: tuple[int, ...], shared: bool) -> None:
    bottom = gradients.distinct(shape)
    body = f"prelu_param {{ channel_shared: {str(shared).lower()} }}"
    layer, (tensor,) = gradients.double(one_layer("PReLU", body), [bottom])
    assert tuple(layer.blobs[0].shape) == (() if shared else (3,))
    slope = layer.blobs[0].detach().numpy().reshape(-1, *[1] * (len(shape) - 2))
    close(layer(tensor), np.maximum(bottom, 0) + slope * np.minimum(bottom, 0), tolerance=1e-12)


def test_prelu_starts_at_a_quarter_or_as_filled() -> None:
    assert build(one_layer("PReLU"), [(1, 2)]).blobs[0].tolist() == [0.25, 0.25]
    filled = build(one_layer("PReLU", "prelu_param { filler { value: 3 } }"), [(1, 2)])
    assert filled.blobs[0].tolist() == [3, 3]


@pytest.mark.parametrize("kind", ["Sigmoid", "TanH", "ELU", "BNLL", "Swish", "ReLU"])
def test_extremes_neither_overflow_nor_lose_their_gradient_to_nan(kind: str) -> None:
    bottom = torch.tensor([-1e4, -100.0, -60.0, 60.0, 100.0, 1e4], requires_grad=True)
    top = build(one_layer(kind), [(6,)])(bottom)
    top.sum().backward()
    assert bool(top.isfinite().all())
    assert bool(bottom.grad.isfinite().all())


AT_ZERO = [("ReLU", "", 0.0), ("ReLU", "relu_param { negative_slope: 0.1 }", 0.1), ("AbsVal", "", 0.0), ("ELU", "", 1)]


@pytest.mark.parametrize(("kind", "body", "slope"), AT_ZERO)
def test_derivatives_at_the_kink_are_caffes(kind: str, body: str, slope: float) -> None:
    bottom = torch.zeros(1, requires_grad=True)
    build(one_layer(kind, body), [(1,)])(bottom).sum().backward()
    assert bottom.grad.item() == pytest.approx(slope)


@pytest.mark.parametrize("bound", [-0.5, 0.5])
def test_clip_passes_the_gradient_on_its_bounds(bound: float) -> None:
    bottom = torch.tensor([bound, bound * 1.01], requires_grad=True)
    build(one_layer("Clip", "clip_param { min: -0.5 max: 0.5 }"), [(2,)])(bottom).sum().backward()
    assert bottom.grad.tolist() == [1, 0]


def test_power_2_has_a_gradient_at_zero() -> None:
    bottom = torch.zeros(3, requires_grad=True)
    build(one_layer("Power", "power_param { power: 2 }"), [(3,)])(bottom).sum().backward()
    assert bottom.grad.tolist() == [0, 0, 0]


def test_dropout_scales_what_it_keeps() -> None:
    bottom = torch.ones(200, 100)
    layer = build(one_layer("Dropout", "dropout_param { dropout_ratio: 0.2 }"), [bottom.shape])
    torch.manual_seed(0)
    top = layer(bottom)
    assert set(top.flatten().tolist()) == {0.0, 1.25}
    deviation = (0.2 * 0.8 / top.numel()) ** 0.5
    assert abs(float((top == 0).double().mean()) - 0.2) < 5 * deviation
    torch.manual_seed(0)
    assert torch.equal(layer(bottom), top)


WRONG = [
    ("Clip", "", "clip_param.min is required"),
    ("Dropout", "dropout_param { dropout_ratio: 1 }", "dropout_ratio (=1) must be in [0, 1)"),
    ("Dropout", "dropout_param { dropout_ratio: -0.1 }", "dropout_ratio (=-0.1)"),
    ("Exp", "exp_param { base: 0 }", "base (=0) must be positive"),
    ("Exp", "exp_param { base: -2 }", "base (=-2) must be positive"),
    ("Log", "log_param { base: 1 }", "base (=1) must be positive and not 1"),
    ("Log", "log_param { base: -3 }", "base (=-3)"),
    ("PReLU", "", "at least 2 axes"),
]


@pytest.mark.parametrize(("kind", "body", "message"), WRONG)
def test_a_wrong_prototxt_is_refused(kind: str, body: str, message: str) -> None:
    with pytest.raises(LayerError) as caught:
        build(one_layer(kind, body), [(4,)])
    assert message in str(caught.value)
