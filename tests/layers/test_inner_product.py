"""InnerProduct and Embed in float64 numpy, and their checks of a prototxt."""

from __future__ import annotations

import gradients
import numpy as np
import pytest
import torch
from golden import build, close, one_layer

from sdcaffe import reading
from sdcaffe.errors import LayerError


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
def test_inner_product_flattens_from_axis_on_in_caffes_order(axis: int, bias: bool, transpose: bool) -> None:
    bottom = np.random.RandomState(0).randn(2, 3, 4, 5)  # given to the layer channels_last
    body = f"num_output: 6 axis: {axis} bias_term: {str(bias).lower()} transpose: {str(transpose).lower()}"
    layer, (tensor,) = gradients.double(one_layer("InnerProduct", f"inner_product_param {{ {body} }}"), [bottom])
    kept = bottom.shape[:axis]
    flat = bottom.reshape(*kept, -1)
    weight = layer.blobs[0].detach().numpy()
    assert weight.shape == ((flat.shape[-1], 6) if transpose else (6, flat.shape[-1]))
    top = flat @ (weight if transpose else weight.T)
    if bias:
        top = top + layer.blobs[1].detach().numpy()
    assert layer.top_shapes == [(*kept, 6)]
    close(layer(tensor), top, tolerance=1e-12)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(5,), (4, 2), (2, 1, 3)])
def test_embed_looks_rows_up(shape: tuple[int, ...], bias: bool) -> None:
    index = np.random.RandomState(0).randint(0, 7, shape)
    text = one_layer("Embed", f"embed_param {{ input_dim: 7 num_output: 3 bias_term: {str(bias).lower()} }}")
    layer, (tensor,) = gradients.double(text, [index])
    expected = layer.blobs[0].detach().numpy()[index]
    if bias:
        expected = expected + layer.blobs[1].detach().numpy()
    assert [tuple(blob.shape) for blob in layer.blobs] == [(7, 3), (3,)][: 1 + bias]
    assert layer.top_shapes == [(*shape, 3)]
    close(layer(tensor), expected, tolerance=0)


@pytest.mark.parametrize("index", [-1, 7])
def test_an_index_out_of_range_is_named(index: int) -> None:
    layer = build(one_layer("Embed", "embed_param { input_dim: 7 num_output: 3 }"), [(3,)])
    with pytest.raises(LayerError, match=rf'"x" \(Embed\): index {index} is not in \[0, 7\)'):
        layer(torch.tensor([0.0, float(index), 6.0]))


WRONG = [
    ("InnerProduct", "", "num_output must be at least 1"),
    ("InnerProduct", "inner_product_param { num_output: 2 axis: 2 }", "axis 2 is out of range"),
    ("Embed", "embed_param { input_dim: 3 }", "num_output must be at least 1"),
    ("Embed", "embed_param { num_output: 3 }", "input_dim must be at least 1"),
]


@pytest.mark.parametrize(("kind", "body", "message"), WRONG)
def test_a_wrong_prototxt_is_refused(kind: str, body: str, message: str) -> None:
    with pytest.raises(LayerError) as caught:
        build(one_layer(kind, body), [(2, 3)])
    assert message in str(caught.value)


def test_weights_that_the_memory_does_not_hold_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "free_memory", lambda: 100_000_000)
    build(one_layer("InnerProduct", "inner_product_param { num_output: 6000000 }"), [(2, 3)])
    with pytest.raises(LayerError, match="blob 0 would take 120000000 bytes, more than the 100000000 bytes"):
        build(one_layer("InnerProduct", "inner_product_param { num_output: 10000000 }"), [(2, 3)])


def test_many_weights_that_are_small_each_are_asked_about_together(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = one_layer("InnerProduct", "inner_product_param { num_output: 2000000 bias_term: false }")
    monkeypatch.setattr(reading, "free_memory", lambda: 20_000_000)
    monkeypatch.setattr(reading, "_unasked", [0])
    for _ in range(2):
        build(layer, [(2, 3)])
    with pytest.raises(LayerError, match="blob 0 would take 24000000 bytes, more than the 20000000 bytes"):
        build(layer, [(2, 3)])
