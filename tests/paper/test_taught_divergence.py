"""KLLoss with a teacher: D(pb||pa) alone, against float64 numpy and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sdcaffe import proto
from sdcaffe.layers import discover
from sdcaffe.layers.base import Layer, layer_class
from sdcaffe.proto import text

discover()


def make(gradient: str, temperature: float, shape: tuple[int, ...]) -> Layer:
    message = proto.LayerParameter()
    param = f"temperature: {temperature} gradient: {gradient} one_sided: true"
    text.parse(f'name: "kl" type: "KLLoss" kl_loss_param {{ {param} }}', message, "test")
    layer = layer_class("KLLoss")(message, proto.TRAIN)
    assert layer.setup([shape, shape]) == [()]
    return layer


def softened(z: np.ndarray, temperature: float) -> np.ndarray:
    e = np.exp(z / temperature - (z / temperature).max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def divergence(student: np.ndarray, teacher: np.ndarray, temperature: float) -> float:
    """D(teacher || student), the mean over samples of the sum over classes."""
    p, q = softened(teacher, temperature), softened(student, temperature)
    return float((p * np.log(p / q)).sum() / len(p))


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 1, 1)])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("gradient", ["PRINTED", "EXACT", "HINTON"])
def test_the_student_learns_from_the_teacher_and_not_the_other_way(gradient, temperature, shape):
    random = np.random.RandomState(0)
    student, teacher = (3 * random.randn(*shape) for _ in range(2))
    tensors = [torch.from_numpy(z).requires_grad_() for z in (student, teacher)]
    loss = make(gradient, temperature, shape)(*tensors)
    (0.5 * loss).backward()
    z, t = student.reshape(6, 5), teacher.reshape(6, 5)
    value, slope = {
        "PRINTED": (1, 1),
        "EXACT": (1, 1 / temperature),
        "HINTON": (temperature**2, temperature),
    }[gradient]
    assert loss.item() == pytest.approx(value * divergence(z, t, temperature), rel=1e-10)
    expected = 0.5 * slope * (softened(z, temperature) - softened(t, temperature)).reshape(shape) / 6
    np.testing.assert_allclose(tensors[0].grad.numpy(), expected, rtol=1e-9, atol=1e-15)
    assert tensors[1].grad is None


@pytest.mark.parametrize(("gradient", "scale"), [("EXACT", 1.0), ("HINTON", 4.0)])
def test_the_gradient_is_the_derivative_of_the_loss(gradient, scale):
    random = np.random.RandomState(1)
    student, teacher = (2 * random.randn(4, 5) for _ in range(2))
    tensor = torch.from_numpy(student).requires_grad_()
    make(gradient, 2.0, (4, 5))(tensor, torch.from_numpy(teacher)).backward()
    step = 1e-6
    for index in np.ndindex(student.shape):
        ends = []
        for sign in (1, -1):
            moved = student.copy()
            moved[index] += sign * step
            ends.append(scale * divergence(moved, teacher, 2.0))
        assert tensor.grad[index].item() == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=1e-8)
