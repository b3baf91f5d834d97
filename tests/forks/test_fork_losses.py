"""What forks add to loss_param: PRE_FIXED, against numpy in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fork_layers import make, run, values

from sdcaffe import proto

SCORES, LABELS = values(2, 3, 2, 2), np.array([[0, 2], [1, 1], [2, 2], [0, 1]], np.float64).reshape(2, 1, 2, 2)


def surprise(scores, labels):
    """-log of each label's probability, place by place."""
    found = []
    for n, h, w in np.ndindex(2, 2, 2):
        odds = np.exp(scores[n, :, h, w])
        found.append(-np.log(odds[int(labels[n, 0, h, w])] / odds.sum()))
    return np.array(found)


def test_softmax_with_loss_is_divided_by_a_number_of_ones_own():
    layer = make(
        "SoftmaxWithLoss",
        "loss_param { normalization: PRE_FIXED pre_fixed_normalizer: 128 }",
        [SCORES.shape, LABELS.shape],
    )
    assert run(layer, SCORES, LABELS) == pytest.approx(surprise(SCORES, LABELS).sum() / 128, rel=1e-9)
    x = torch.tensor(SCORES, requires_grad=True)
    layer(x, torch.tensor(LABELS)).backward()
    steps = np.zeros_like(SCORES)
    for place in np.ndindex(SCORES.shape):
        up, down = SCORES.copy(), SCORES.copy()
        up[place] += 1e-5
        down[place] -= 1e-5
        steps[place] = (surprise(up, LABELS).sum() - surprise(down, LABELS).sum()) / 2e-5 / 128
    assert np.allclose(x.grad, steps, atol=1e-8)


def test_the_divisor_is_at_least_one():
    body = "loss_param { normalization: PRE_FIXED pre_fixed_normalizer: 0.5 }"
    layer = make("SoftmaxWithLoss", body, [SCORES.shape, LABELS.shape])
    assert run(layer, SCORES, LABELS) == pytest.approx(surprise(SCORES, LABELS).sum(), rel=1e-9)


def test_sigmoid_cross_entropy_too():
    body = "loss_param { normalization: PRE_FIXED pre_fixed_normalizer: 5 }"
    layer = make("SigmoidCrossEntropyLoss", body, [(2, 3), (2, 3)])
    x, y = values(2, 3), np.array([[0, 1, 1], [1, 0, 0]], np.float64)
    chance = 1 / (1 + np.exp(-x))
    assert run(layer, x, y) == pytest.approx(-np.log(np.where(y == 1, chance, 1 - chance)).sum() / 5, rel=1e-9)


def test_it_is_not_bvlcs_none():
    message = proto.LossParameter()
    proto.parse("normalization: NONE", message, "x")
    assert message.normalization == 3 != proto.LossParameter.PRE_FIXED
