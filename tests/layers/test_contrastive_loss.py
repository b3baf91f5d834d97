import numpy as np
import pytest
import torch
from layer_building import backward, gradients_agree, make, normal

from sdcaffe.errors import LayerError


def reference(a, b, similar, margin, legacy):
    """Loss, and the gradient of a with Caffe's 1e-4 beside the distance."""
    difference = a - b
    squared = (difference**2).sum(1)
    distance = squared if legacy else np.sqrt(squared)
    short = np.maximum(margin - distance, 0)
    loss = np.where(similar, squared, short if legacy else short**2).sum() / 2 / len(a)
    push = np.where(short > 0, 1.0 if legacy else short / (distance + 1e-4), 0.0)
    return loss, np.where(similar, 1.0, -push)[:, None] * difference / len(a)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("margin", [0.5, 3.0])
@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 1, 1)])
def test_loss_and_gradient_are_caffes(legacy, margin, shape):
    body = f"contrastive_loss_param {{ margin: {margin} legacy_version: {str(legacy).lower()} }}"
    layer = make("ContrastiveLoss", body, shape, shape, (6, 1))
    a, b = normal(*shape), normal(*shape, seed=1)
    flag = torch.tensor([[0.0], [1], [0], [0], [1], [0]])
    arrays = a.detach().numpy().reshape(6, 4), b.detach().numpy().reshape(6, 4)
    loss, gradient = reference(*arrays, flag.numpy().reshape(-1) != 0, margin, legacy)
    top = layer(a, b, flag)
    np.testing.assert_allclose(top.item(), loss, rtol=1e-12)
    to_a, to_b = backward(top, a, b)
    np.testing.assert_allclose(to_a, gradient.reshape(shape), atol=1e-14)
    np.testing.assert_allclose(to_b, -gradient.reshape(shape), atol=1e-14)


def test_gradient_of_equal_features_that_should_differ_is_finite():
    layer = make("ContrastiveLoss", "", (1, 3), (1, 3), (1,))
    a = torch.ones(1, 3, dtype=torch.float64, requires_grad=True)
    top = layer(a, torch.ones(1, 3, dtype=torch.float64), torch.zeros(1))
    assert top.item() == 0.5
    np.testing.assert_array_equal(backward(top, a)[0], np.zeros((1, 3)))


def test_legacy_gradient_is_the_derivative():
    layer = make("ContrastiveLoss", "contrastive_loss_param { margin: 5 legacy_version: true }", (5, 3), (5, 3), (5,))
    assert gradients_agree(layer, normal(5, 3), normal(5, 3, seed=1), torch.tensor([0.0, 1, 0, 0, 1]))


def test_features_of_one_axis_are_of_one_channel():
    """Loss and gradients as BVLC Caffe 1.0 gave them."""
    layer = make("ContrastiveLoss", "", (3,), (3,), (3,))
    a = torch.tensor([0.5, -0.75, 0.25], dtype=torch.float64, requires_grad=True)
    b = torch.tensor([1, 0.5, 0.75], dtype=torch.float64, requires_grad=True)
    top = layer(a, b, torch.tensor([1.0, 0, 0]))
    np.testing.assert_allclose(top.item(), 0.083333336, rtol=1e-6)
    to_a, to_b = backward(top, a, b)
    np.testing.assert_allclose(to_a, [-0.16666667, 0, 0.16663334], rtol=1e-6)
    np.testing.assert_allclose(to_b, [0.16666667, 0, -0.16663334], rtol=1e-6)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(6, 4), (6, 5), (6,)], "same number and channels"),
        ([(6, 4, 2, 1), (6, 4, 2, 1), (6,)], "height and width 1"),
        ([(6, 4), (6, 4), (6, 2)], "needs 6 flags"),
    ],
)
def test_shapes_that_do_not_fit(shapes, message):
    with pytest.raises(LayerError, match=message):
        make("ContrastiveLoss", "", *shapes)
