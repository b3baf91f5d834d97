import numpy as np
import pytest
import torch
from layer_building import make, whole

from sdcaffe.errors import LayerError


def best(rows, top_k):
    """Places by falling value, then by falling place: C++ sorts (value, place) pairs by `greater`."""
    return np.array([sorted(range(len(row)), key=lambda i: (-row[i], -i))[:top_k] for row in rows])


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("values", ["false", "true"])
def test_along_an_axis_with_ties(axis, values):
    bottom = whole(0, 3, 4, 5, 6)
    layer = make("ArgMax", f"argmax_param {{ axis: {axis} top_k: 3 out_max_val: {values} }}", (4, 5, 6))
    turned = np.moveaxis(bottom.numpy(), axis, -1)
    rows = turned.reshape(-1, turned.shape[-1])
    expected = best(rows, 3)
    if values == "true":
        expected = np.take_along_axis(rows, expected, 1)
    expected = np.moveaxis(expected.reshape(*turned.shape[:-1], 3), -1, axis)
    assert layer.top_shapes == [expected.shape]
    np.testing.assert_array_equal(layer(bottom), expected)


@pytest.mark.parametrize(("shape", "ones"), [((4, 6), ()), ((4, 2, 3), ()), ((4, 2, 3, 1), (1,))])
def test_over_whole_items_with_ties(shape, ones):
    bottom = whole(0, 3, *shape)
    rows = bottom.numpy().reshape(4, 6)
    places = best(rows, 2)
    both = np.stack([places, np.take_along_axis(rows, places, 1)], 1)
    layer = make("ArgMax", "argmax_param { top_k: 2 }", shape)
    assert layer.top_shapes == [(4, 1, 2, *ones)]
    np.testing.assert_array_equal(layer(bottom), places.reshape(4, 1, 2, *ones))
    layer = make("ArgMax", "argmax_param { top_k: 2 out_max_val: true }", shape)
    assert layer.top_shapes == [(4, 2, 2, *ones)]
    np.testing.assert_array_equal(layer(bottom), both.reshape(4, 2, 2, *ones))


@pytest.mark.parametrize(
    ("values", "expected"), [("false", [[[0]]] * 3), ("true", [[[0], [2]], [[0], [1]], [[0], [3]]])]
)
def test_a_blob_of_one_axis_has_rows_of_one_value(values, expected):
    """As BVLC Caffe, run on the same layer: places of 0, in a top of (3, 1, 1)."""
    layer = make("ArgMax", f"argmax_param {{ out_max_val: {values} }}", (3,))
    assert layer.top_shapes == [np.shape(expected)]
    np.testing.assert_array_equal(layer(torch.tensor([2.0, 1.0, 3.0])), expected)


def test_no_gradient_comes_back():
    assert not make("ArgMax", "", (2, 3))(torch.zeros(2, 3, requires_grad=True)).requires_grad


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("top_k: 0", r"top_k \(=0\) must be from 1 to the 6 values compared"),
        ("top_k: 7", "to the 6 values compared"),
        ("axis: 2 top_k: 4", "to the 3 values compared"),
        ("axis: 3", "axis 3 is out of range"),
    ],
)
def test_what_does_not_fit(body, message):
    with pytest.raises(LayerError, match=message):
        make("ArgMax", f"argmax_param {{ {body} }}", (4, 2, 3))
