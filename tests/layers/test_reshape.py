import numpy as np
import pytest
import torch
from layer_building import make, normal

from sdcaffe.errors import LayerError


@pytest.mark.parametrize(
    ("body", "shape"),
    [
        ("", ()),
        ("shape { dim: 0 dim: 0 dim: -1 }", (2, 3, 20)),
        ("shape { dim: -1 dim: 0 }", (40, 3)),
        ("shape { dim: 5 dim: 24 }", (5, 24)),
        ("axis: 1 shape { dim: -1 }", (2, 60)),
        ("axis: 1 num_axes: 0 shape { dim: 1 dim: 1 }", (2, 1, 1, 3, 4, 5)),
        ("axis: -1 shape { dim: 1 }", (2, 3, 4, 5, 1)),
        ("axis: -3 num_axes: 1 shape { dim: 2 dim: 2 }", (2, 3, 2, 2, 5)),
        ("axis: 2 num_axes: 2 shape { dim: 0 dim: -1 }", (2, 3, 4, 5)),
    ],
)
def test_zeros_copy_minus_one_fits_and_axes_outside_stay(body, shape):
    if not shape:
        bottom, body = normal(1, 1), "shape { }"  # no dims at all: one number
    else:
        bottom = normal(2, 3, 4, 5)
    layer = make("Reshape", f"reshape_param {{ {body} }}", bottom.shape)
    if bottom.dim() == 4:
        bottom = bottom.detach().contiguous(memory_format=torch.channels_last)
    assert layer.top_shapes == [shape]
    np.testing.assert_array_equal(layer(bottom).detach(), bottom.detach().numpy().reshape(shape))


def test_copied_and_fitted_sizes_follow_a_batch_that_changes():
    assert make("Reshape", "reshape_param { shape { dim: 0 dim: -1 } }", (2, 3, 4))(normal(5, 3, 4)).shape == (5, 12)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("shape { dim: -1 dim: -1 }", "-1 more than once"),
        ("shape { dim: -2 dim: 3 }", "negative size"),
        ("shape { dim: 7 dim: -1 }", "no multiple of 7"),
        ("shape { dim: 6 dim: 3 }", r"2 3 4 \(24\) cannot take the shape 6 3 \(18\)"),
        ("axis: 2 shape { dim: 0 dim: 0 }", "copies axis 3, which the bottom lacks"),
        ("axis: 4 shape { dim: 1 }", "axis 4 is out of range"),
        ("axis: -5 shape { dim: 1 }", "axis -5 is out of range"),
        ("num_axes: -2 shape { dim: 24 }", r"num_axes \(=-2\) must be at least 0"),
        ("axis: 2 num_axes: 2 shape { dim: 4 }", "pass the 3 dimensions"),
    ],
)
def test_what_does_not_fit(body, message):
    with pytest.raises(LayerError, match=message):
        make("Reshape", f"reshape_param {{ {body} }}", (2, 3, 4))
