import numpy as np
import pytest
import torch
from layer_building import backward, make

from sdcaffe.errors import LayerError


def test_loss_and_gradient_with_a_probability_of_0():
    layer = make("MultinomialLogisticLoss", "", (3, 2), (3, 1, 1, 1))
    probability = torch.tensor([[0.25, 0.75], [0, 1], [0.5, 0.5]], dtype=torch.float64, requires_grad=True)
    top = layer(probability, torch.tensor([[1.0], [0], [0]]).reshape(3, 1, 1, 1))
    np.testing.assert_allclose(top.item(), -(np.log(0.75) + np.log(1e-20) + np.log(0.5)) / 3, rtol=1e-12)
    expected = -np.array([[0, 1 / 0.75], [1e20, 0], [2, 0]]) / 3
    np.testing.assert_allclose(backward(top, probability)[0], expected, rtol=1e-12)


def test_one_label_an_item():
    with pytest.raises(LayerError, match="needs 3 labels"):
        make("MultinomialLogisticLoss", "", (3, 2, 2, 2), (3, 1, 2, 2))


def test_probabilities_of_one_axis_are_of_one_class():
    """Loss and gradients as BVLC Caffe 1.0 gave them."""
    layer = make("MultinomialLogisticLoss", "", (3,), (3,))
    probability = torch.tensor([0.5, 0.75, 0.25], dtype=torch.float64, requires_grad=True)
    top = layer(probability, torch.zeros(3))
    np.testing.assert_allclose(top.item(), 0.7890412, rtol=1e-6)
    np.testing.assert_allclose(backward(top, probability)[0], [-0.6666667, -0.44444445, -1.3333334], rtol=1e-6)
