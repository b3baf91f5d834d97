import numpy as np
import pytest
from layer_building import backward, make, normal

from sdcaffe.errors import LayerError


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_copies_one_after_the_other(axis):
    bottom, weight = normal(2, 3, 4), None
    layer = make("Tile", f"tile_param {{ axis: {axis} tiles: 3 }}", (2, 3, 4))
    expected = np.concatenate([bottom.detach().numpy()] * 3, axis)
    top = layer(bottom)
    assert layer.top_shapes == [expected.shape]
    np.testing.assert_array_equal(top.detach(), expected)
    weight = normal(*expected.shape, seed=1).detach().numpy()
    np.testing.assert_allclose(backward(top, bottom, weight=weight)[0], sum(np.split(weight, 3, axis)), atol=1e-14)


@pytest.mark.parametrize("body", ["", "tiles: 0", "tiles: -1"])
def test_tiles_must_be_given_and_positive(body):
    with pytest.raises(LayerError, match=r"tiles \(=-?\d\) must be given, and positive"):
        make("Tile", f"tile_param {{ {body} }}", (2, 3))
