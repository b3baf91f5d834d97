import numpy as np
import pytest
import torch
from layer_building import backward, make, normal, whole

from sdcaffe.errors import LayerError


def reference(x, target, ignore, divisor):
    kept = np.ones(x.shape, bool) if ignore is None else target.astype(int) != ignore
    loss = np.maximum(x, 0) - x * target + np.log1p(np.exp(-np.abs(x)))
    divisor = max(1, kept.sum()) if divisor is None else divisor
    return (loss * kept).sum() / divisor, ((1 + np.tanh(x / 2)) / 2 - target) * kept / divisor


@pytest.mark.parametrize(
    ("body", "ignore", "divisor"),
    [
        ("", None, 4),
        ("loss_param { ignore_label: 1 }", 1, 4),
        ("loss_param { ignore_label: -1 normalization: VALID }", -1, None),
        ("loss_param { normalization: VALID }", None, 24),
        ("loss_param { normalization: FULL ignore_label: 1 }", 1, 24),
        ("loss_param { normalization: NONE }", None, 1),
        ("loss_param { normalize: true ignore_label: -1 }", -1, None),
        ("loss_param { normalize: false }", None, 4),
    ],
)
def test_loss_and_gradient_are_caffes(body, ignore, divisor):
    layer = make("SigmoidCrossEntropyLoss", body, (4, 3, 2), (4, 6))
    x, target = normal(4, 3, 2), whole(-1 if ignore == -1 else 0, 2, 4, 6)
    loss, gradient = reference(x.detach().numpy(), target.numpy().reshape(4, 3, 2), ignore, divisor)
    top = layer(x, target)
    np.testing.assert_allclose(top.item(), loss, rtol=1e-12)
    np.testing.assert_allclose(backward(top, x)[0], gradient, atol=1e-14)


def test_targets_between_0_and_1_and_scores_far_from_0():
    layer = make("SigmoidCrossEntropyLoss", "", (1, 4), (1, 4))
    x, target = np.array([[-800.0, 800.0, 0.5, -3.0]]), np.array([[0.25, 0.75, 0.5, 0.1]])
    top = layer(torch.tensor(x), torch.tensor(target))
    np.testing.assert_allclose(top.item(), reference(x, target, None, 1)[0], rtol=1e-12)


def test_counts_must_agree():
    with pytest.raises(LayerError, match=r"4 6 \(24\) and targets 4 5 \(20\) must have the same count"):
        make("SigmoidCrossEntropyLoss", "", (4, 6), (4, 5))
