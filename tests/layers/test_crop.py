"""Crop: which part of the bottom stays, and the checks of a prototxt."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from golden import build, one_layer

from sdcaffe.errors import LayerError

CUTS = [
    ("", np.s_[:, :, :4, :5]),  # axis 2 and offset 0 by default
    ("offset: 2", np.s_[:, :, 2:6, 2:7]),
    ("offset: 3 offset: 1", np.s_[:, :, 3:7, 1:6]),
    ("axis: -1 offset: 3", np.s_[:, :, :, 3:8]),
    ("axis: 0", np.s_[:1, :2, :4, :5]),
    ("axis: 0 offset: 1 offset: 1 offset: 0 offset: 2", np.s_[1:2, 1:3, :4, 2:7]),
]


@pytest.mark.parametrize(("body", "cut"), CUTS)
def test_axes_from_axis_on_take_the_other_bottoms_sizes(body: str, cut: tuple[slice, ...]) -> None:
    bottom, size = torch.randn(2, 3, 7, 8, requires_grad=True), torch.randn(1, 2, 4, 5, requires_grad=True)
    layer = build(one_layer("Crop", f"crop_param {{ {body} }}", bottoms=2), [bottom.shape, size.shape])
    top = layer(bottom, size)
    assert layer.top_shapes == [tuple(top.shape)]
    assert np.array_equal(top.detach().numpy(), bottom.detach().numpy()[cut])
    top.sum().backward()
    expected = np.zeros(bottom.shape)
    expected[cut] = 1
    assert np.array_equal(bottom.grad.numpy(), expected)
    assert size.grad is None


def test_further_axes_of_the_other_bottom_do_not_count() -> None:
    """The numbers that BVLC Caffe gives for bottoms of 2 5 and 2 3 1."""
    bottom, size = torch.arange(10.0).reshape(2, 5), torch.zeros(2, 3, 1)
    layer = build(one_layer("Crop", "crop_param { axis: 1 }", bottoms=2), [bottom.shape, size.shape])
    assert layer.top_shapes == [(2, 3)]
    assert layer(bottom, size).tolist() == [[0, 1, 2], [5, 6, 7]]


WRONG = [
    ("axis: 4", (1, 2, 4, 5), "axis 4 is out of range"),
    ("offset: 1 offset: 1 offset: 1", (1, 2, 4, 5), "offset is given 3 times"),
    ("offset: 4", (1, 2, 4, 5), "axis 2 of the bottom has 7 values: offset 4 and size 4 leave it"),
    ("", (1, 2, 9, 5), "axis 2 of the bottom has 7 values"),
    ("", (1, 2, 4), "as many axes"),
]


@pytest.mark.parametrize(("body", "size", "message"), WRONG)
def test_a_wrong_cut_is_refused(body: str, size: tuple[int, ...], message: str) -> None:
    with pytest.raises(LayerError) as caught:
        build(one_layer("Crop", f"crop_param {{ {body} }}", bottoms=2), [(2, 3, 7, 8), size])
    assert message in str(caught.value)
