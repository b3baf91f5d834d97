import numpy as np
import pytest
from layer_building import make, normal

from sdcaffe.errors import LayerError


@pytest.mark.parametrize(
    ("body", "tops", "axis", "points"),
    [
        ("axis: -1 slice_point: 2", 2, 2, [2]),
        ("slice_dim: 0", 2, 0, [2]),
        ("slice_point: 1 slice_point: 2 slice_point: 5", 4, 1, [1, 2, 5]),
        ("axis: 1", 3, 1, [2, 4]),
        ("", 1, 1, []),
    ],
)
def test_cut_where_told_or_into_equal_parts(body, tops, axis, points):
    bottom = normal(4, 6, 5)
    layer = make("Slice", f"slice_param {{ {body} }}", (4, 6, 5), tops=tops)
    expected = np.split(bottom.detach().numpy(), points, axis)
    assert layer.top_shapes == [part.shape for part in expected]
    for top, part in zip(layer(bottom), expected, strict=True):
        np.testing.assert_array_equal(top.detach(), part)


def test_equal_parts_follow_a_batch_whose_size_changes():
    first, second = make("Slice", "slice_param { axis: 0 }", (4, 2), tops=2)(normal(8, 2))
    assert first.shape == second.shape == (4, 2)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "6 values on axis 1 cannot be cut into 4 equal tops"),
        ("slice_point: 1", "1 slice points cut into 2, but there are 4 tops"),
        ("slice_point: 1 slice_point: 1 slice_point: 2", "must rise"),
        ("slice_point: 1 slice_point: 2 slice_point: 6", "below 6, the size of axis 1"),
        ("axis: 1 slice_dim: 1", "not both"),
        ("slice_dim: 2", "slice_dim 2 is out of range"),
    ],
)
def test_what_does_not_fit(body, message):
    with pytest.raises(LayerError, match=message):
        make("Slice", f"slice_param {{ {body} }}", (4, 6), tops=4)
