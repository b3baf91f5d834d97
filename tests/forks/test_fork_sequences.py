"""ContinuationIndicator, CtcLoss, LabelsequenceAccuracy, Insanity, Flip and Sparsify against numpy and counting."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from fork_layers import gradients_agree, make, run, values

from sdcaffe.errors import SdcaffeError


@pytest.mark.parametrize(("axis", "n"), [(0, 2), (-1, 4)])
def test_continuation_indicator(axis, n):
    layer = make("ContinuationIndicator", f"continuation_indicator_param {{ time_step: 3 axis: {axis} }}", [(2, 5, 4)])
    assert run(layer, values(2, 5, 4)).tolist() == [[0] * n, [1] * n, [1] * n]


def collapsed(path, blank):
    """A path through time as the labels that it means."""
    return tuple(label for label, _ in itertools.groupby(path) if label != blank)


def ctc(scores, labels, blank):
    """The cost by adding up every path: (time, classes) for a tuple of labels."""
    prob = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    paths = itertools.product(range(scores.shape[1]), repeat=len(scores))
    total = sum(math.prod(prob[t, c] for t, c in enumerate(p)) for p in paths if collapsed(p, blank) == labels)
    return -math.log(total) if total else 0


@pytest.mark.parametrize("blank", [0, 2])
def test_ctc_loss(blank):
    labels = [[1, 1, blank], [3, blank, blank], [1, 3, 1]]
    scores = values(4, 3, 4)
    body = f"ctc_loss_param {{ alphabet_size: 4 time_step: 4 blank_label: {blank} }}"
    layer = make("CtcLoss", body, [scores.shape, (3, 3)])
    real = [tuple(label for label in own if label != blank) for own in labels]

    def total(x):
        return sum(ctc(x[:, i], real[i], blank) for i in range(3))

    bottom = torch.tensor(scores, requires_grad=True)
    loss = layer(bottom, torch.tensor(labels, dtype=torch.float64))
    assert loss.item() == pytest.approx(total(scores) / 3)
    loss.backward()
    for place in ((0, 0, 1), (2, 1, 3), (3, 2, 0)):  # the gradient is the sum's
        step = np.zeros_like(scores)
        step[place] = 1e-5
        assert bottom.grad[place].item() == pytest.approx(
            (total(scores + step) - total(scores - step)) / 2e-5, abs=1e-6
        )


def test_labelsequence_accuracy():
    best = [[1, 1, 0, 1, 2], [0, 2, 2, 2, 0], [1, 2, 0, 0, 0], [0, 0, 0, 0, 0]]
    labels = [[1, 1, 2], [0, 2, 0], [1, 0, 0], [0, 0, 0]]
    layer = make("LabelsequenceAccuracy", "", [(4, 5, 3), (4, 3)])
    assert run(layer, np.eye(3)[best], np.array(labels, float)) == 3 / 4


def test_insanity():
    x = values(50, 40)
    layer = make("Insanity", "insanity_param { lb: 2 ub: 8 }", [x.shape])
    mean = 6 / math.log(4)
    assert np.allclose(run(layer, x), np.maximum(x, 0) + np.minimum(x, 0) / mean)
    train = make("Insanity", "insanity_param { lb: 2 ub: 8 }", [x.shape], phase="TRAIN")
    torch.manual_seed(0)
    bottom = torch.tensor(x, requires_grad=True)
    top = train(bottom)
    top.sum().backward()
    slopes = (bottom / top).detach().numpy()
    assert (slopes[x > 0] == 1).all()
    drawn = slopes[x < 0]
    assert drawn.min() >= 2 - 1e-9
    assert drawn.max() <= 8 + 1e-9
    assert abs(drawn.mean() - 5) < 4 * math.sqrt(3 / len(drawn))  # of numbers even between 2 and 8
    assert np.allclose(bottom.grad.numpy(), 1 / slopes)


@pytest.mark.parametrize(
    ("body", "turned"),
    [
        ("", np.s_[:, :, :, ::-1]),
        ("flip_param { flip_height: true }", np.s_[:, :, ::-1, ::-1]),
        ("flip_param { flip_width: false }", np.s_[:]),
    ],
)
def test_flip(body, turned):
    x = values(2, 2, 3, 4)
    layer = make("Flip", body, [x.shape])
    assert np.array_equal(run(layer, x), x[turned])
    assert gradients_agree(layer, x)


@pytest.mark.parametrize("least", [0, 0.5])
def test_sparsify(least):
    x = values(3, 5)
    layer = make("Sparsify", f"sparsify_param {{ thre: {least} coef: 0.25 }}", [x.shape])
    expected = np.array([v - math.copysign(least, v) if abs(v) > least else 0 for v in x.flat]).reshape(x.shape)
    bottom = torch.tensor(x, requires_grad=True)
    top = layer(bottom)
    assert np.allclose(top.detach().numpy(), expected)
    (3 * top).sum().backward()
    slope = np.where(expected > 0, 3.25, np.where(expected < 0, 2.75, 0))
    assert np.allclose(bottom.grad.numpy(), slope)


@pytest.mark.parametrize(
    ("kind", "body", "shapes", "word"),
    [
        ("ContinuationIndicator", "", [(2, 3)], "time_step"),
        ("CtcLoss", "ctc_loss_param { alphabet_size: 3 time_step: 5 }", [(4, 2, 3), (2, 2)], "5 steps"),
        ("CtcLoss", "ctc_loss_param { alphabet_size: 3 time_step: 2 blank_label: 3 }", [(4, 2, 3), (2, 2)], "blank"),
        ("LabelsequenceAccuracy", "", [(2, 3), (2, 3)], "classes"),
        ("Insanity", "insanity_param { lb: 0 }", [(2, 3)], "lb"),
        ("Flip", "", [(2, 3)], "n, c, h, w"),
        ("Sparsify", "sparsify_param { thre: -1 }", [(2, 3)], "thre"),
    ],
)
def test_what_is_refused(kind, body, shapes, word):
    with pytest.raises(SdcaffeError, match=word):
        make(kind, body, shapes)
