"""MMDLoss and KLLoss against the paper's formulas, written out in float64 numpy, and against gradcheck."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sdcaffe import proto
from sdcaffe.errors import LayerError
from sdcaffe.layers import discover
from sdcaffe.layers.base import Layer, layer_class
from sdcaffe.proto import text

discover()


def make(type_name: str, param: str = "", shapes=((6, 5), (6, 5))) -> Layer:
    message = proto.LayerParameter()
    text.parse(f'name: "ab" type: "{type_name}" {param}', message, "test")
    layer = layer_class(type_name)(message, proto.TRAIN)
    assert layer.setup(list(shapes)) == [()]
    return layer


def branches(*shape: int, spread: float = 1.0, dtype=np.float64) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.RandomState(0)
    return tuple((spread * random.randn(*shape)).astype(dtype) for _ in range(2))


def run(layer: Layer, a: np.ndarray, b: np.ndarray, weight: float = 1.0) -> tuple[np.ndarray, ...]:
    """Loss, gradient of a, gradient of b, for a loss that counts `weight` times."""
    tensors = [torch.from_numpy(x).requires_grad_() for x in (a, b)]
    loss = layer(*tensors)
    assert loss.shape == ()
    (weight * loss).backward()
    return loss.detach().numpy(), *(t.grad.numpy() for t in tensors)


def softened(z: np.ndarray, temperature: float) -> np.ndarray:
    e = np.exp(z / temperature - (z / temperature).max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def divergence(target: np.ndarray, p: np.ndarray) -> float:
    """Eq. 3: D(target || p) = -(1/n) sum_i target log(p / target)."""
    return float(-(target * np.log(p / target)).sum() / len(p))


@pytest.mark.parametrize("shape", [(6, 5), (4, 3, 1, 1), (3, 2, 4, 5)])
def test_mmd_is_equation_1_with_its_printed_gradient(shape):
    a, b = branches(*shape)
    n = shape[0]
    loss, grad_a, grad_b = run(make("MMDLoss", shapes=[shape] * 2), a, b, weight=0.5)
    np.testing.assert_allclose(loss, ((a.sum(0) / n - b.sum(0) / n) ** 2).sum(), rtol=1e-12)
    printed = np.broadcast_to(2 / n**2 * (a.sum(0) - b.sum(0)), shape)
    np.testing.assert_allclose(grad_a, 0.5 * printed, rtol=1e-12)
    np.testing.assert_allclose(grad_b, -0.5 * printed, rtol=1e-12)


def test_mmd_gradient_is_exact():
    a, b = (torch.from_numpy(x).requires_grad_() for x in branches(4, 3, 2))
    assert torch.autograd.gradcheck(make("MMDLoss", shapes=[(4, 3, 2)] * 2), (a, b))


@pytest.mark.parametrize("temperature", [1.0, 2.0, 3.0])
@pytest.mark.parametrize("gradient", ["PRINTED", "EXACT", "HINTON"])
@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 1, 1)])
def test_kl_is_equation_3_both_ways_in_each_convention(shape, gradient, temperature):
    a, b = branches(*shape, spread=3)
    layer = make("KLLoss", f"kl_loss_param {{ temperature: {temperature} gradient: {gradient} }}", [shape] * 2)
    loss, grad_a, grad_b = run(layer, a, b, weight=0.25)
    pa, pb = (softened(z.reshape(6, 5), temperature) for z in (a, b))
    value, slope = {
        "PRINTED": (1, 1),
        "EXACT": (1, 1 / temperature),
        "HINTON": (temperature**2, temperature),
    }[gradient]
    np.testing.assert_allclose(loss, value * (divergence(pb, pa) + divergence(pa, pb)), rtol=1e-10)
    expected = 0.25 * slope * (pa - pb).reshape(shape) / 6
    np.testing.assert_allclose(grad_a, expected, rtol=1e-10, atol=1e-15)
    np.testing.assert_allclose(grad_b, -expected, rtol=1e-10, atol=1e-15)


def test_kl_defaults_are_temperature_3_and_the_printed_gradient():
    a, b = branches(6, 5)
    pa, pb = softened(a, 3), softened(b, 3)
    loss, grad_a, _ = run(make("KLLoss"), a, b)
    np.testing.assert_allclose(loss, divergence(pb, pa) + divergence(pa, pb), rtol=1e-10)
    np.testing.assert_allclose(grad_a, (pa - pb) / 6, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize(("gradient", "scale"), [("EXACT", 1.0), ("HINTON", 9.0)])
def test_kl_exact_is_the_derivative_with_each_target_held_constant(gradient, scale):
    a, b = branches(4, 5, spread=2)
    _, grad_a, grad_b = run(make("KLLoss", f"kl_loss_param {{ gradient: {gradient} }}", [(4, 5)] * 2), a, b)
    step = 1e-6
    for logits, target, gradient_of in ((a, softened(b, 3), grad_a), (b, softened(a, 3), grad_b)):
        for index in np.ndindex(logits.shape):
            ends = []
            for sign in (1, -1):
                moved = logits.copy()
                moved[index] += sign * step
                ends.append(divergence(target, softened(moved, 3)))
            assert gradient_of[index] == pytest.approx(scale * (ends[0] - ends[1]) / (2 * step), abs=1e-8)


def test_kl_exact_equals_autograd_of_two_one_sided_losses_with_detached_targets():
    a, b = (torch.from_numpy(x).requires_grad_() for x in branches(7, 9, spread=2))

    def one_sided(target, logits):
        p, q = (target / 3).softmax(1).detach(), (logits / 3).log_softmax(1)
        return torch.nn.functional.kl_div(q, p, reduction="batchmean")

    expected = torch.autograd.grad(one_sided(b, a) + one_sided(a, b), (a, b))
    layer = make("KLLoss", "kl_loss_param { gradient: EXACT }", [(7, 9)] * 2)
    for have, want in zip(torch.autograd.grad(layer(a, b), (a, b)), expected, strict=True):
        torch.testing.assert_close(have, want, rtol=1e-10, atol=1e-14)


def test_kl_stays_finite_for_certain_predictions():
    a, b = branches(6, 5, spread=500, dtype=np.float32)
    for value in run(make("KLLoss"), a, b):
        assert np.isfinite(value).all()


def test_float32_agrees_with_float64():
    a, b = branches(64, 100, spread=3)
    for layer in (make("MMDLoss", shapes=[a.shape] * 2), make("KLLoss", shapes=[a.shape] * 2)):
        for have, want in zip(run(layer, a.astype(np.float32), b.astype(np.float32)), run(layer, a, b), strict=True):
            assert np.abs(have - want).max() <= 1e-5 * np.abs(want).max()


def test_equal_branches_have_no_loss_and_no_gradient():
    a, _ = branches(6, 5)
    for type_name in ("MMDLoss", "KLLoss"):
        for value in run(make(type_name), a, a):
            assert not value.any()


@pytest.mark.parametrize(
    ("type_name", "param", "shapes", "words"),
    [
        ("MMDLoss", "", [(4, 3), (4, 2)], ["4 3 (12)", "4 2 (8)"]),
        ("MMDLoss", "", [(4,), (4,)], ["4 (4)"]),
        ("KLLoss", "", [(4, 3), (2, 3)], ["4 3 (12)", "2 3 (6)"]),
        ("KLLoss", "", [(4, 3, 2, 1), (4, 3, 2, 1)], ["(N, K)", "4 3 2 1 (24)"]),
        ("KLLoss", "kl_loss_param { temperature: 0 }", [(4, 3), (4, 3)], ["temperature", "not 0"]),
    ],
)
def test_mistakes_name_the_layer_and_the_values(type_name, param, shapes, words):
    with pytest.raises(LayerError) as caught:
        make(type_name, param, shapes)
    for word in [f'layer "ab" ({type_name})', *words]:
        assert word in str(caught.value)
