"""Gradients of InnerProduct, Embed, BatchNorm, Scale and Bias, over shapes and parameters that no recording has."""

from __future__ import annotations

import gradients
import numpy as np
import torch
from golden import one_layer
from hypothesis import given
from hypothesis import strategies as st

few = gradients.few
shapes = st.lists(st.integers(1, 3), min_size=1, max_size=4).map(tuple)


def flag(value: bool) -> str:
    return str(value).lower()


@few
@given(shape=shapes, data=st.data(), transpose=st.booleans(), bias=st.booleans())
def test_inner_product(shape: tuple[int, ...], data: st.DataObject, transpose: bool, bias: bool) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    body = f"num_output: 3 axis: {axis} transpose: {flag(transpose)} bias_term: {flag(bias)}"
    gradients.check(one_layer("InnerProduct", f"inner_product_param {{ {body} }}"), [gradients.distinct(shape)])


@few
@given(shape=shapes, bias=st.booleans())
def test_embed(shape: tuple[int, ...], bias: bool) -> None:
    index = np.random.RandomState(0).randint(0, 4, shape)
    text = one_layer("Embed", f"embed_param {{ input_dim: 4 num_output: 3 bias_term: {flag(bias)} }}")
    gradients.check(text, [index], constant=[0])


@few
@given(
    shape=st.lists(st.integers(2, 3), min_size=1, max_size=4).map(tuple),
    settings=st.sampled_from(["", "eps: 0.1", "moving_average_fraction: 0.5", "use_global_stats: false"]),
    phase=st.sampled_from(["TRAIN", "TEST"]),
)
def test_batch_norm(shape: tuple[int, ...], settings: str, phase: str) -> None:
    text = one_layer("BatchNorm", f"batch_norm_param {{ {settings} }}")
    layer, (bottom,) = gradients.double(text, [gradients.distinct(shape)], phase)
    for blob in layer.blobs:
        blob.data.abs_().add_(0.5)  # a variance is not negative
    assert torch.autograd.gradcheck(layer, [bottom.requires_grad_()], eps=1e-6, atol=1e-6, rtol=1e-4)


@few
@given(
    shape=st.lists(st.integers(2, 3), min_size=1, max_size=4).map(tuple),
    phase=st.sampled_from(["TRAIN", "TEST"]),
    with_bias=st.booleans(),
)
def test_batch_norm_with_an_affine(shape: tuple[int, ...], phase: str, with_bias: bool) -> None:
    layer, (bottom,) = gradients.double(one_layer("BatchNorm"), [gradients.distinct(shape)], phase)
    for blob in layer.blobs:
        blob.data.abs_().add_(0.5)
    channels = shape[1] if len(shape) > 1 else 1
    affine = [torch.from_numpy(gradients.distinct((channels,), seed)) for seed in range(1 + with_bias)]
    inputs = [tensor.requires_grad_() for tensor in (bottom, *affine)]
    assert torch.autograd.gradcheck(layer.normalize, inputs, eps=1e-6, atol=1e-6, rtol=1e-4)


@st.composite
def spans(draw: st.DrawFn) -> tuple[tuple[int, ...], int, int, tuple[int, ...]]:
    """A shape, an axis, a num_axes and the sizes that those two span."""
    shape = draw(shapes)
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    start = axis % len(shape)
    count = draw(st.integers(-1, len(shape) - start))
    return shape, axis, count, shape[start:] if count == -1 else shape[start : start + count]


@few
@given(spans(), st.booleans())
def test_scale(span: tuple[tuple[int, ...], int, int, tuple[int, ...]], bias: bool) -> None:
    shape, axis, count, _ = span
    body = f"scale_param {{ axis: {axis} num_axes: {count} bias_term: {flag(bias)} }}"
    gradients.check(one_layer("Scale", body), [gradients.distinct(shape)])


@few
@given(spans(), st.booleans())
def test_scale_by_a_bottom(span: tuple[tuple[int, ...], int, int, tuple[int, ...]], bias: bool) -> None:
    shape, axis, _, operand = span
    text = one_layer("Scale", f"scale_param {{ axis: {axis} bias_term: {flag(bias)} }}", bottoms=2)
    gradients.check(text, [gradients.distinct(shape), gradients.distinct(operand, 1)])


@few
@given(spans())
def test_bias(span: tuple[tuple[int, ...], int, int, tuple[int, ...]]) -> None:
    shape, axis, count, _ = span
    gradients.check(one_layer("Bias", f"bias_param {{ axis: {axis} num_axes: {count} }}"), [gradients.distinct(shape)])


@few
@given(spans())
def test_bias_by_a_bottom(span: tuple[tuple[int, ...], int, int, tuple[int, ...]]) -> None:
    shape, axis, _, operand = span
    text = one_layer("Bias", f"bias_param {{ axis: {axis} }}", bottoms=2)
    gradients.check(text, [gradients.distinct(shape), gradients.distinct(operand, 1)])
