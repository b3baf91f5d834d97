"""Gradients of the neuron layers, over shapes and parameters that no recording has."""

from __future__ import annotations

import gradients
import pytest
import torch
from golden import build, one_layer
from hypothesis import given
from hypothesis import strategies as st

shapes = st.lists(st.integers(1, 3), min_size=1, max_size=4).map(tuple)
deep_shapes = st.lists(st.integers(1, 3), min_size=2, max_size=4).map(tuple)
small = st.floats(-2, 2).map(lambda v: round(v, 2))
slopes = st.sampled_from([-0.5, 0.0, 0.3, 1.0])


@pytest.mark.parametrize("kind", ["ReLU", "Sigmoid", "TanH", "ELU", "AbsVal", "BNLL", "Exp", "Swish", "Power"])
@gradients.few
@given(shape=shapes)
def test_defaults(kind: str, shape: tuple[int, ...]) -> None:
    gradients.check(one_layer(kind), [gradients.distinct(shape)])


@gradients.few
@given(shape=shapes, slope=slopes)
def test_leaky_relu(shape: tuple[int, ...], slope: float) -> None:
    gradients.check(one_layer("ReLU", f"relu_param {{ negative_slope: {slope} }}"), [gradients.distinct(shape)])


@gradients.few
@given(shape=shapes, alpha=st.sampled_from([0.0, 0.4, 1.0, 2.5]))
def test_elu(shape: tuple[int, ...], alpha: float) -> None:
    gradients.check(one_layer("ELU", f"elu_param {{ alpha: {alpha} }}"), [gradients.distinct(shape)])


@gradients.few
@given(shape=shapes, bounds=st.tuples(st.floats(-2, -0.01), st.floats(0.01, 2)))
def test_clip(shape: tuple[int, ...], bounds: tuple[float, float]) -> None:
    bottom = gradients.distinct(shape)
    for bound in bounds:
        bottom[abs(bottom - bound) < 1e-3] += 0.01
    gradients.check(one_layer("Clip", f"clip_param {{ min: {bounds[0]:f} max: {bounds[1]:f} }}"), [bottom])


@gradients.few
@given(shape=shapes, base=st.sampled_from([-1, 0.5, 1, 2, 10]), scale=small, shift=small)
def test_exp(shape: tuple[int, ...], base: float, scale: float, shift: float) -> None:
    body = f"exp_param {{ base: {base} scale: {scale} shift: {shift} }}"
    gradients.check(one_layer("Exp", body), [gradients.distinct(shape)])


@gradients.few
@given(shape=shapes, base=st.sampled_from([-1, 0.5, 2, 10]), scale=st.floats(0.1, 3), shift=st.floats(0, 2))
def test_log(shape: tuple[int, ...], base: float, scale: float, shift: float) -> None:
    body = f"log_param {{ base: {base} scale: {scale:f} shift: {shift:f} }}"
    gradients.check(one_layer("Log", body), [gradients.positive(shape)])


@gradients.few
@given(
    shape=shapes,
    power=st.sampled_from([-1.5, -1, 0, 0.5, 1, 2, 3]),
    scale=st.sampled_from([0, 0.5, 1, 2]),
    shift=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_power(shape: tuple[int, ...], power: float, scale: float, shift: float) -> None:
    if scale == 0:
        shift += 0.1  # 0 to a negative power is infinite
    body = f"power_param {{ power: {power} scale: {scale} shift: {shift} }}"
    gradients.check(one_layer("Power", body), [gradients.positive(shape)])


@gradients.few
@given(shape=deep_shapes, shared=st.booleans())
def test_prelu(shape: tuple[int, ...], shared: bool) -> None:
    body = f"prelu_param {{ channel_shared: {str(shared).lower()} }}"
    gradients.check(one_layer("PReLU", body), [gradients.distinct(shape)])


@gradients.few
@given(shape=shapes, beta=small)
def test_swish(shape: tuple[int, ...], beta: float) -> None:
    gradients.check(one_layer("Swish", f"swish_param {{ beta: {beta} }}"), [gradients.distinct(shape)])


@gradients.few
@given(shape=shapes, ratio=st.sampled_from([0.0, 0.3, 0.8]), phase=st.sampled_from(["TRAIN", "TEST"]))
def test_dropout(shape: tuple[int, ...], ratio: float, phase: str) -> None:
    body = f"dropout_param {{ dropout_ratio: {ratio} }}"
    gradients.check(one_layer("Dropout", body), [gradients.distinct(shape)], phase)


def test_a_constant_powers_derivative_is_0_where_the_formulas_is_not_finite():
    bottom = torch.tensor([0.0, 1.0, float("inf")], requires_grad=True)
    top = build(one_layer("Power", "power_param { power: 0.5 scale: 0 }"), [(3,)])(bottom)
    top.sum().backward()
    assert top.tolist() == [0, 0, 0]
    assert bottom.grad.tolist() == [0, 0, 0]
