import numpy as np
import pytest
import torch
from layer_building import backward, make, normal

from sdcaffe.errors import LayerError


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def test_sum_with_coefficients():
    layer = make("Eltwise", "eltwise_param { coeff: 0.5 coeff: -2 coeff: 0 }", (3,), (3,), (3,))
    a, b, c = tensor(1, 2, 3), tensor(4, 5, 6), tensor(7, 8, 9)
    assert layer(a, b, c).tolist() == [-7.5, -9, -10.5]
    assert [g.tolist() for g in backward(layer(a, b, c), a, b, c)] == [[0.5] * 3, [-2] * 3, [0] * 3]


def test_a_tie_of_the_first_two_goes_to_the_second_and_stays_there():
    layer = make("Eltwise", "eltwise_param { operation: MAX }", (3,), (3,), (3,))
    a, b, c = tensor(1, 5, 2), tensor(1, 2, 2), tensor(1, 5, 3)
    top = layer(a, b, c)
    assert top.tolist() == [1, 5, 3]
    assert [g.tolist() for g in backward(top, a, b, c)] == [[0, 1, 0], [1, 0, 0], [0, 0, 1]]


@pytest.mark.parametrize("stable", ["true", "false"])
def test_gradient_of_a_product_with_zeros_in_it_is_finite(stable):
    layer = make("Eltwise", f"eltwise_param {{ operation: PROD stable_prod_grad: {stable} }}", (3,), (3,), (3,))
    a, b, c = tensor(0, 2, 3), tensor(4, 0, 6), tensor(7, 0, 9)
    top = layer(a, b, c)
    assert top.tolist() == [0, 0, 162]
    assert [g.tolist() for g in backward(top, a, b, c)] == [[28, 0, 54], [0, 0, 27], [0, 0, 18]]


def test_bottoms_are_not_written_to():
    a, b = normal(2, 3), normal(2, 3, seed=1)
    before = a.detach().clone(), b.detach().clone()
    for operation in ("SUM", "PROD", "MAX"):
        make("Eltwise", f"eltwise_param {{ operation: {operation} }}", (2, 3), (2, 3))(a, b)
    np.testing.assert_array_equal(a.detach(), before[0])
    np.testing.assert_array_equal(b.detach(), before[1])


@pytest.mark.parametrize(
    ("body", "shapes", "message"),
    [
        ("", [(2, 3), (2, 4)], r"bottom 1 has shape 2 4 \(8\), but bottom 0 has 2 3 \(6\)"),
        ("coeff: 1", [(2,), (2,)], "1 coefficients for 2 bottoms"),
        ("operation: PROD coeff: 1 coeff: 2", [(2,), (2,)], "only a SUM takes coefficients"),
    ],
)
def test_what_does_not_fit(body, shapes, message):
    with pytest.raises(LayerError, match=message):
        make("Eltwise", f"eltwise_param {{ {body} }}", *shapes)
