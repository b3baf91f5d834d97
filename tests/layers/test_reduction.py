import numpy as np
import pytest
import torch
from layer_building import backward, make, normal

from sdcaffe.errors import LayerError

FORWARD = {
    "SUM": lambda rows: rows.sum(1),
    "ASUM": lambda rows: np.abs(rows).sum(1),
    "SUMSQ": lambda rows: (rows**2).sum(1),
    "MEAN": lambda rows: rows.mean(1),
}


@pytest.mark.parametrize("operation", list(FORWARD))
@pytest.mark.parametrize(("axis", "shape"), [(0, ()), (1, (2,)), (-1, (2, 3, 4))])
def test_the_last_axes_become_one_number(operation, axis, shape):
    bottom = normal(2, 3, 4, 5)
    layer = make("Reduction", f"reduction_param {{ operation: {operation} axis: {axis} coeff: -0.5 }}", (2, 3, 4, 5))
    rows = bottom.detach().numpy().reshape(int(np.prod(shape)), -1)
    assert layer.top_shapes == [shape]
    np.testing.assert_allclose(layer(bottom).detach(), -0.5 * FORWARD[operation](rows).reshape(shape), rtol=1e-12)


def test_the_gradient_of_an_absolute_value_at_0_is_0():
    bottom = torch.tensor([-2.0, 0, 3], requires_grad=True)
    layer = make("Reduction", "reduction_param { operation: ASUM coeff: 2 }", (3,))
    assert backward(layer(bottom), bottom)[0].tolist() == [-2, 0, 2]


def test_axis_out_of_range():
    with pytest.raises(LayerError, match="axis 2 is out of range"):
        make("Reduction", "reduction_param { axis: 2 }", (2, 3))
