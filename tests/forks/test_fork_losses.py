"""What forks add to loss_param: PRE_FIXED and weights of the classes, against numpy in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fork_layers import make, run, values

from sdcaffe import proto
from sdcaffe.errors import LayerError

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
    steps = slopes(SCORES, lambda scores: surprise(scores, LABELS).sum() / 128)
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


def weighted(scores, labels, weights, ignore=None):
    """Sum over places of weight times surprise, over how many places count."""
    total = count = 0.0
    for n, h, w in np.ndindex(2, 2, 2):
        label = int(labels[n, 0, h, w])
        if label != ignore:
            odds = np.exp(scores[n, :, h, w])
            total -= weights[label] * np.log(odds[label] / odds.sum())
            count += 1
    return total / count


def slopes(scores, loss):
    """The gradient of `loss` by differences."""
    found = np.zeros_like(scores)
    for place in np.ndindex(scores.shape):
        up, down = scores.copy(), scores.copy()
        up[place] += 1e-5
        down[place] -= 1e-5
        found[place] = (loss(up) - loss(down)) / 2e-5
    return found


@pytest.mark.parametrize(
    ("more", "weights", "ignore"),
    [
        ("class_weighting: [0.5, 2, 4]", (0.5, 2, 4), None),
        ("class_weighting: [0.5, 2, 4] ignore_label: 1", (0.5, 2, 4), 1),
        ("", (1 / 2, 1 / 3, 1 / 3), None),
        ("ignore_label: 2", (1 / 2, 1 / 3, 0), 2),
    ],
)
def test_labels_that_count_by_their_class(more, weights, ignore):
    body = f"loss_param {{ weight_by_label_freqs: true {more} }}"
    layer = make("SoftmaxWithLoss", body, [SCORES.shape, LABELS.shape])
    assert run(layer, SCORES, LABELS) == pytest.approx(weighted(SCORES, LABELS, weights, ignore), rel=1e-7)
    x = torch.tensor(SCORES, requires_grad=True)
    layer(x, torch.tensor(LABELS)).backward()
    assert np.allclose(x.grad, slopes(SCORES, lambda s: weighted(s, LABELS, weights, ignore)), atol=1e-7)


def test_an_ignored_label_beyond_the_classes_is_in_no_count():
    labels = np.where(LABELS == 2, 255, LABELS)
    body = "loss_param { weight_by_label_freqs: true ignore_label: 255 }"
    layer = make("SoftmaxWithLoss", body, [SCORES.shape, LABELS.shape])
    assert run(layer, SCORES, labels) == pytest.approx(weighted(SCORES, labels, (1 / 2, 1 / 3), 255), rel=1e-7)


def test_a_list_alone_changes_nothing():
    plain, listed = (make("SoftmaxWithLoss", f"loss_param {{ {more} }}", [SCORES.shape, LABELS.shape])
                     for more in ("", "class_weighting: [1, 2, 3]"))  # fmt: skip
    assert run(plain, SCORES, LABELS) == run(listed, SCORES, LABELS)


def test_too_few_weights():
    with pytest.raises(LayerError, match="2 class_weighting for 3 classes") as caught:
        make("SoftmaxWithLoss", "loss_param { weight_by_label_freqs: true class_weighting: [1, 2] }",
             [SCORES.shape, LABELS.shape])  # fmt: skip
    assert caught.value.field == "class_weighting"


def test_l1_loss():
    one, other = values(4, 3, 2), values(4, 6, seed=1)
    layer = make("L1Loss", "", [one.shape, other.shape])
    pairs = list(zip(one.flat, other.flat, strict=True))
    assert run(layer, one, other) == pytest.approx(sum(abs(a - b) for a, b in pairs) / 4)
    bottoms = [torch.tensor(one, requires_grad=True), torch.tensor(other, requires_grad=True)]
    layer(*bottoms).backward()
    slopes = np.array([0.25 * (int(a > b) - int(a < b)) for a, b in pairs])
    assert np.array_equal(bottoms[0].grad.numpy().ravel(), slopes)
    assert np.array_equal(bottoms[1].grad.numpy().ravel(), -slopes)
    with pytest.raises(LayerError, match="one n and one size"):
        make("L1Loss", "", [(4, 3), (4, 4)])


@pytest.mark.parametrize(
    ("fields", "ignore", "by"),
    [
        ("", None, 2 * 4),
        ("loss_param { normalization: BATCH_SIZE }", None, 2),
        ("loss_param { ignore_label: 2 }", 2, 5),
        ("loss_param { ignore_label: 2 normalization: NONE }", 2, 1),
    ],
)
def test_knowledge_distillation(fields, ignore, by):
    """The divergence of softened probabilities, and T times their difference as the gradient."""
    student, teacher = SCORES, values(2, 3, 2, 2, seed=4)
    arrays = [student, teacher] + ([] if ignore is None else [LABELS])
    temperature = 2.5
    body = f"knowledge_distillation_param {{ temperature: {temperature} }} {fields}"
    layer = make("KnowledgeDistillation", body, [array.shape for array in arrays])
    total, slope = 0.0, np.zeros_like(student)
    for n, h, w in np.ndindex(2, 2, 2):
        if LABELS[n, 0, h, w] == ignore:
            continue
        soft = [np.exp(z[n, :, h, w] / temperature) for z in (student, teacher)]
        p, q = (odds / odds.sum() for odds in soft)
        total += sum(b * (np.log(b) - np.log(a)) for a, b in zip(p, q, strict=True))
        slope[n, :, h, w] = temperature * (p - q)
    bottoms = [torch.tensor(array, requires_grad=i == 0) for i, array in enumerate(arrays)]
    loss = layer(*bottoms)
    loss.backward()
    assert loss.item() == pytest.approx(total / by)
    assert np.allclose(bottoms[0].grad.numpy(), slope / by)


@pytest.mark.parametrize(
    ("fields", "shapes", "word"),
    [
        ("knowledge_distillation_param { temperature: 0 }", [(2, 3)] * 2, "temperature"),
        ("", [(2, 3), (2, 4)], "one shape"),
        ("", [(2, 3), (2, 3), (2,)], "ignore_label"),
        ("loss_param { ignore_label: 1 }", [(2, 3)] * 2, "ignore_label"),
    ],
)
def test_what_knowledge_distillation_refuses(fields, shapes, word):
    with pytest.raises(LayerError, match=word):
        make("KnowledgeDistillation", fields, shapes)
