import numpy as np
import pytest
from layer_building import make, normal

from sdcaffe.errors import LayerError


@pytest.mark.parametrize(("body", "axis"), [("axis: -1", 2), ("concat_dim: 0", 0), ("axis: 1", 1), ("", 1)])
def test_bottoms_one_after_the_other(body, axis):
    shapes = [[2, 3, 4], [2, 3, 4]]
    shapes[1][axis] = 5
    bottoms = [normal(*shape, seed=i) for i, shape in enumerate(shapes)]
    layer = make("Concat", f"concat_param {{ {body} }}", *shapes)
    expected = np.concatenate([bottom.detach().numpy() for bottom in bottoms], axis)
    assert layer.top_shapes == [expected.shape]
    np.testing.assert_array_equal(layer(*bottoms).detach(), expected)


def test_one_bottom_passes_through():
    bottom = normal(2, 3)
    assert make("Concat", "", (2, 3))(bottom) is bottom


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("axis: 0", r"bottom 1 has shape 2 4 \(8\).*differ on axis 0 only"),
        ("axis: 2", "axis 2 is out of range"),
        ("concat_dim: 2", "concat_dim 2 is out of range for a bottom of 2 dimensions"),
        ("axis: 1 concat_dim: 1", 'give "axis" or "concat_dim", not both'),
    ],
)
def test_what_does_not_fit(body, message):
    with pytest.raises(LayerError, match=message):
        make("Concat", f"concat_param {{ {body} }}", (2, 3), (2, 4))


def test_numbers_of_axes_that_differ():
    with pytest.raises(LayerError, match="bottom 1 has shape 2 3 1"):
        make("Concat", "", (2, 3), (2, 3, 1))
