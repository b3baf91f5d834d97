import numpy as np
import pytest
import torch
from layer_building import backward, make, normal

from sdcaffe.errors import LayerError


@pytest.mark.parametrize("selector", [[1, 0, -2, 0], [0, 0, 0, 0], [1, 1, 1, 1]])
@pytest.mark.parametrize("shape", [(4,), (4, 1, 1)])
def test_items_that_are_selected_go_on(selector, shape):
    layer = make("Filter", "", (4, 2, 3), (4, 5), shape, tops=2)
    a, b = normal(4, 2, 3), normal(4, 5)
    first, second = layer(a, b, torch.tensor(selector).reshape(shape))
    kept = [i for i, flag in enumerate(selector) if flag]
    assert layer.top_shapes == [(4, 2, 3), (4, 5)]
    np.testing.assert_array_equal(first.detach(), a.detach().numpy()[kept])
    np.testing.assert_array_equal(second.detach(), b.detach().numpy()[kept])
    expected = np.zeros((4, 5))
    expected[kept] = 2
    np.testing.assert_array_equal(backward(2 * second.sum(), b)[0], expected)


@pytest.mark.parametrize(
    ("shapes", "tops", "message"),
    [
        ([(4, 2), (4, 2)], 1, "one value an item"),
        ([(3, 2), (4,)], 1, r"bottom 0 of shape 3 2 \(6\) must have as many items as the selector has values \(=4\)"),
        ([(4, 2), (4,)], 2, "2 tops for 1 bottoms and a selector"),
    ],
)
def test_what_does_not_fit(shapes, tops, message):
    with pytest.raises(LayerError, match=message):
        make("Filter", "", *shapes, tops=tops)
