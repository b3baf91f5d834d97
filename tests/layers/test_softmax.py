import numpy as np
import pytest
import torch
from layer_building import make, normal

from sdcaffe.errors import LayerError


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_exponentials_over_their_sum(axis):
    x = normal(2, 3, 4)
    e = np.exp(x.detach().numpy())
    layer = make("Softmax", f"softmax_param {{ axis: {axis} }}", (2, 3, 4))
    np.testing.assert_allclose(layer(x).detach(), e / e.sum(axis, keepdims=True), rtol=1e-12)


def test_large_scores_do_not_overflow():
    top = make("Softmax", "", (1, 2))(torch.tensor([[1000.0, 999.0]]))
    np.testing.assert_allclose(top, [[1 / (1 + np.exp(-1)), 1 / (1 + np.e)]], rtol=1e-6)


def test_axis_out_of_range():
    with pytest.raises(LayerError, match="axis 2 is out of range for a bottom of 2 dimensions"):
        make("Softmax", "softmax_param { axis: 2 }", (2, 3))
