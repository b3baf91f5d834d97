import numpy as np
import pytest
import torch
from layer_building import backward, make, normal, whole

from sdcaffe.errors import DataError, LayerError


@pytest.mark.parametrize("norm", ["L1", "L2"])
@pytest.mark.parametrize("shape", [(4, 6), (4, 3, 2)])
def test_loss_and_gradient_are_caffes(norm, shape):
    layer = make("HingeLoss", f"hinge_loss_param {{ norm: {norm} }}", shape, (4, 1))
    scores, label = normal(*shape), whole(0, 6, 4, 1)
    sign = np.ones((4, 6))
    sign[np.arange(4), label.numpy().astype(int).reshape(-1)] = -1
    margin = np.maximum(0, 1 + sign * scores.detach().numpy().reshape(4, 6))
    loss, slope = ((margin**2).sum(), 2 * margin) if norm == "L2" else (margin.sum(), np.sign(margin))
    top = layer(scores, label)
    np.testing.assert_allclose(top.item(), loss / 4, rtol=1e-12)
    np.testing.assert_allclose(backward(top, scores)[0], (sign * slope / 4).reshape(shape), atol=1e-14)


def test_no_gradient_where_the_margin_is_exactly_kept():
    layer = make("HingeLoss", "", (1, 2), (1,))
    scores = torch.tensor([[1.0, -1.0]], dtype=torch.float64, requires_grad=True)
    top = layer(scores, torch.tensor([0.0]))
    assert top.item() == 0
    assert not backward(top, scores)[0].any()


def test_labels_are_checked():
    with pytest.raises(LayerError, match="needs 4 labels"):
        make("HingeLoss", "", (4, 6), (4, 2))
    with pytest.raises(DataError, match="label 6 is out of range"):
        make("HingeLoss", "", (1, 6), (1,))(normal(1, 6), torch.tensor([6.0]))


def test_scores_of_one_axis_are_of_one_class():
    """Loss and gradients as BVLC Caffe 1.0 gave them."""
    layer = make("HingeLoss", "", (3,), (3,))
    scores = torch.tensor([-0.5, -0.75, 0.25], dtype=torch.float64, requires_grad=True)
    top = layer(scores, torch.zeros(3))
    np.testing.assert_allclose(top.item(), 1.3333334, rtol=1e-5)
    np.testing.assert_allclose(backward(top, scores)[0], np.full(3, -1 / 3), rtol=1e-6)
