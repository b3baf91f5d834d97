import numpy as np
import pytest
from layer_building import backward, make, normal

from sdcaffe.errors import LayerError


def test_half_the_mean_squared_distance_with_gradients_to_both():
    layer = make("EuclideanLoss", "", (3, 2, 2), (3, 4))
    a, b = normal(3, 2, 2), normal(3, 4, seed=1)
    difference = a.detach().numpy() - b.detach().numpy().reshape(3, 2, 2)
    top = layer(a, b)
    np.testing.assert_allclose(top.item(), (difference**2).sum() / 6, rtol=1e-12)
    to_a, to_b = backward(top, a, b)
    np.testing.assert_allclose(to_a, difference / 3, atol=1e-14)
    np.testing.assert_allclose(to_b, -difference.reshape(3, 4) / 3, atol=1e-14)


@pytest.mark.parametrize(
    ("shapes", "message"), [([(3, 4), (3, 5)], "same dimension"), ([(3, 4), (4, 3)], "same first dimension")]
)
def test_shapes_that_do_not_fit(shapes, message):
    with pytest.raises(LayerError, match=message):
        make("EuclideanLoss", "", *shapes)
