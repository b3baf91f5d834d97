"""SegAccuracy against numpy that counts pixel by pixel and class by class, as sets."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fork_layers import make, run

from sdcaffe.errors import DataError, LayerError


def measures(called, real, classes):
    """Of called and real classes, arrays of any one shape: pixels right, mean recall, mean intersection over union."""
    recalls, overlaps = [], []
    for c in range(classes):
        a, b = {*np.flatnonzero(called == c)}, {*np.flatnonzero(real == c)}
        if b:
            recalls.append(len(a & b) / len(b))
        overlaps.append(len(a & b) / len(a | b) if a | b else 1.0)
    return [np.mean(called == real) if called.size else 0, np.mean(recalls) if recalls else 0, np.mean(overlaps)]


def drawn(seed, classes=4, shape=(3, 5, 6)):
    random = np.random.RandomState(seed)
    return random.randn(shape[0], classes, *shape[1:]), random.randint(0, classes - 1, (shape[0], 1, *shape[1:]))


def test_the_three_measures_and_a_class_without_pixels():
    scores, label = drawn(1)  # class 3 is called and never real; class 4 neither
    scores = np.concatenate([scores, np.full((3, 1, 5, 6), -9.0)], 1)
    layer = make("SegAccuracy", "", [scores.shape, label.shape])
    assert layer.top_shapes == [(1, 1, 1, 3)]
    assert np.allclose(run(layer, scores, label.astype(float)).flatten(), measures(scores.argmax(1), label[:, 0], 5))


def test_ignored_labels_do_not_count():
    scores, label = drawn(2)
    label[0, :, :2], label[1, :, 3], label[2, :, :, 1] = 255, -7, 1
    layer = make("SegAccuracy", "seg_accuracy_param { ignore_label: 255 ignore_label: -7 ignore_label: 1 }",
                 [scores.shape, label.shape])  # fmt: skip
    kept = ~np.isin(label[:, 0], [255, -7, 1])
    want = measures(scores.argmax(1)[kept], label[:, 0][kept], 4)
    assert np.allclose(run(layer, scores, label.astype(float)).flatten(), want)
    assert run(layer, scores, np.full(label.shape, 255.0)).flatten().tolist() == [0, 0, 1]


def test_the_highest_of_equal_scores_is_called():
    layer = make("SegAccuracy", "", [(1, 3, 1, 2), (1, 1, 1, 2)])
    scores = np.array([1.0, 0, 1, 2, 0, 2]).reshape(1, 3, 1, 2)
    assert run(layer, scores, np.array([1.0, 2]).reshape(1, 1, 1, 2)).flatten()[0] == 1


@pytest.mark.parametrize("reset", [True, False])
def test_passes_count_together_where_reset_is_false(reset):
    layer = make("SegAccuracy", f"seg_accuracy_param {{ reset: {str(reset).lower()} }}", [(3, 4, 5, 6), (3, 1, 5, 6)])
    called, real = [], []
    for seed in range(3):
        scores, label = drawn(seed)
        called.append(scores.argmax(1))
        real.append(label[:, 0])
        found = layer(torch.tensor(scores), torch.tensor(label).double()).flatten().tolist()
        first = seed if reset else 0
        assert found == pytest.approx(measures(np.array(called[first:]), np.array(real[first:]), 4))


def test_what_is_refused():
    with pytest.raises(LayerError, match=r"needs scores .* not 1 3 4 4 \(48\) and 1 4 4 \(16\)"):
        make("SegAccuracy", "", [(1, 3, 4, 4), (1, 4, 4)])
    layer = make("SegAccuracy", "", [(1, 3, 4, 4), (1, 1, 4, 4)])
    with pytest.raises(DataError, match="label 3 is out of range: there are 3 classes"):
        layer(torch.zeros(1, 3, 4, 4), torch.full((1, 1, 4, 4), 3.0))
