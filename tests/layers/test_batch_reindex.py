import numpy as np
import pytest
import torch
from layer_building import backward, make, normal

from sdcaffe.errors import DataError, LayerError


def test_items_by_number_and_gradients_that_add_up():
    bottom, index = normal(3, 2, 2), torch.tensor([2.0, 0, 2, 2])
    layer = make("BatchReindex", "", (3, 2, 2), (4,))
    top = layer(bottom, index)
    assert layer.top_shapes == [(4, 2, 2)]
    np.testing.assert_array_equal(top.detach(), bottom.detach().numpy()[[2, 0, 2, 2]])
    weight = normal(4, 2, 2, seed=1).detach().numpy()
    expected = np.stack([weight[1], np.zeros((2, 2)), weight[0] + weight[2] + weight[3]])
    np.testing.assert_allclose(backward(top, bottom, weight=weight)[0], expected, atol=1e-14)


@pytest.mark.parametrize("number", [-1, 3])
def test_a_number_out_of_range(number):
    with pytest.raises(DataError, match=rf"index {number} is out of range: the batch has 3 items"):
        make("BatchReindex", "", (3, 2), (2,))(normal(3, 2), torch.tensor([0.0, number]))


def test_numbers_have_one_axis():
    with pytest.raises(LayerError, match="a list of numbers"):
        make("BatchReindex", "", (3, 2), (2, 1))
