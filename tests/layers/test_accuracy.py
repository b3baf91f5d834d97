import numpy as np
import pytest
import torch
from layer_building import make, normal, whole

from sdcaffe.errors import DataError, LayerError


def reference(scores, label, top_k=1, ignore=None):
    """Over rows of scores: right where fewer than top_k other classes score at least as much; and by class."""
    right, items = np.zeros(scores.shape[1]), np.zeros(scores.shape[1])
    for row, k in zip(scores, label.reshape(-1).astype(int), strict=True):
        if k == ignore:
            continue
        items[k] += 1
        right[k] += sum(row[j] >= row[k] for j in range(len(row)) if j != k) < top_k
    return right.sum() / max(1, items.sum()), right / np.maximum(items, 1)


@pytest.mark.parametrize(
    ("body", "top_k", "ignore"),
    [("", 1, None), ("top_k: 2", 2, None), ("top_k: 3 ignore_label: 1", 3, 1)],
)
@pytest.mark.parametrize("axis", [1, 2, -1])
def test_share_of_labels_among_the_best(body, top_k, ignore, axis):
    shape = (4, 5, 5)
    scores = whole(0, 4, *shape)  # few values, so many ties
    label = whole(0, 5, 4, 5)
    layer = make("Accuracy", f"accuracy_param {{ axis: {axis} {body} }}", shape, (4, 5), tops=2)
    rows = np.moveaxis(scores.numpy(), axis, -1).reshape(20, 5)
    accuracy, by_class = reference(rows, label.numpy(), top_k, ignore)
    tops = layer(scores, label)
    assert layer.top_shapes == [(), (5,)]
    np.testing.assert_allclose(tops[0], accuracy)
    np.testing.assert_allclose(tops[1], by_class)


def test_a_tie_counts_as_wrong():
    layer = make("Accuracy", "", (1, 3), (1,))
    assert layer(torch.zeros(1, 3), torch.tensor([0.0])).item() == 0


def test_a_class_without_items_and_a_batch_without_counted_items_have_0():
    layer = make("Accuracy", "accuracy_param { ignore_label: 2 }", (2, 3), (2, 1), tops=2)
    accuracy, by_class = layer(normal(2, 3), torch.full((2, 1), 2.0))
    assert accuracy.item() == 0
    assert by_class.tolist() == [0, 0, 0]


def test_no_gradient_comes_back():
    assert not make("Accuracy", "", (2, 3), (2,))(normal(2, 3), torch.zeros(2)).requires_grad


def test_what_does_not_fit():
    with pytest.raises(LayerError, match=r"top_k \(=4\) must be at most the number of classes \(=3\)"):
        make("Accuracy", "accuracy_param { top_k: 4 }", (2, 3), (2,))
    with pytest.raises(LayerError, match="need 12 labels, not 2"):
        make("Accuracy", "", (2, 3, 2, 3), (2,))
    with pytest.raises(DataError, match="label 3 is out of range"):
        make("Accuracy", "", (2, 3), (2,))(normal(2, 3), torch.tensor([0.0, 3.0]))


def test_scores_that_are_not_numbers_are_never_right():
    layer = make("Accuracy", "", (2, 3), (2,))
    nan = float("nan")
    scores = torch.tensor([[nan, nan, nan], [0.0, 1.0, nan]])
    assert layer(scores, torch.tensor([0.0, 1.0])).item() == 0
