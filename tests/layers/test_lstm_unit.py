import numpy as np
import pytest
import torch
from layer_building import backward, gradients_agree, make, normal

from sdcaffe.errors import LayerError

SHAPES = (1, 3, 4), (1, 3, 16), (1, 3)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_one_step():
    cell, gates, cont = normal(*SHAPES[0]), normal(*SHAPES[1]), torch.tensor([[1.0, 0, 0.5]])
    i, f, o, g = np.split(gates.detach().numpy(), 4, 2)
    expected = cont.numpy()[..., None] * sigmoid(f) * cell.detach().numpy() + sigmoid(i) * np.tanh(g)
    layer = make("LSTMUnit", "", *SHAPES, tops=2)
    after, hidden = layer(cell, gates, cont)
    assert layer.top_shapes == [SHAPES[0]] * 2
    np.testing.assert_allclose(after.detach(), expected, rtol=1e-12)
    np.testing.assert_allclose(hidden.detach(), sigmoid(o) * np.tanh(expected), rtol=1e-12)


def test_gradient_is_the_derivative_where_sequences_go_on_or_begin():
    layer = make("LSTMUnit", "", *SHAPES, tops=2)
    assert gradients_agree(layer, normal(*SHAPES[0]), normal(*SHAPES[1]), torch.tensor([[1.0, 0, 1]]))


def test_the_forget_gates_gradient_in_between_is_caffes():
    """With f = cont s(x), Caffe's factor is f (1 - f)."""
    cell, gates = normal(1, 1, 1), normal(1, 1, 4)
    after, _ = make("LSTMUnit", "", (1, 1, 1), (1, 1, 4), (1, 1), tops=2)(cell, gates, torch.tensor([[0.5]]))
    f = 0.5 * sigmoid(gates.detach().numpy()[0, 0, 1])
    assert backward(after, gates)[0][0, 0, 1] == pytest.approx(cell.item() * f * (1 - f))


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(2, 3, 4), (2, 3, 16), (2, 3)], "must have shape 1, n, d, not 2 3 4"),
        ([(1, 3, 4), (1, 3, 12), (1, 3)], r"needs gate inputs 1 3 16 \(48\)"),
        ([(1, 3, 4), (1, 3, 16), (1, 2)], r"flags 1 3 \(3\)"),
    ],
)
def test_shapes_that_do_not_fit(shapes, message):
    with pytest.raises(LayerError, match=message):
        make("LSTMUnit", "", *shapes, tops=2)
