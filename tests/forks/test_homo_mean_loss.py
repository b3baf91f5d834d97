"""CAFFE-DACH's HomoMeanLoss against recordings of it, in every option; its pairs; how a solver's iterations count."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from dach_recordings import cases
from fork_layers import make, values

from sdcaffe.errors import LayerError
from sdcaffe.forks.dach.alignment import Pairs, Tasks, drawn

RECORDED = cases("homo_mean_loss")
TOPS = ("predict", "cluster", "scatter", "clusupd", "scatupd", "ovalize")


def text(options):
    def shown(name, value):
        if isinstance(value, str) and not name.endswith("normalization"):
            return f'"{value}"'
        return str(value).lower() if isinstance(value, bool) else value

    return f"homo_mean_loss_param {{ {' '.join(f'{k}: {shown(k, v)}' for k, v in options.items())} }}"


def layer_of(case, arrays, phase):
    x, y = arrays[0]["x"], arrays[0]["y"]
    return make("HomoMeanLoss", text(case["options"]), [x.shape, y.shape], phase=phase, tops=7)


def recorded_pairs(step, when):
    """Stands in for a layer's `pairs`: those that the fork drew, label by label."""
    labels = iter(range(step[f"{when}_first"].shape[1]))

    def pairs(classes):
        label = next(labels)
        first, second = (step[f"{when}_{side}"][:, label] for side in ("first", "second"))
        sides = [torch.tensor(np.maximum(side, 0)).long() for side in (first, second)]
        weights = torch.tensor(step[f"{when}_weights"][:, :, label])
        return Pairs(*sides, *weights, torch.tensor(bool(first[0] >= 0)))

    return pairs


def close(found, want):
    found = found.detach().numpy().ravel()
    return np.allclose(found, want.ravel(), rtol=1e-5, atol=1e-5 * max(1, np.abs(want).max()))


@pytest.mark.parametrize("number", range(len(RECORDED)))
def test_every_option_as_recorded(number):
    """Tops, blobs and the gradient over several iterations, with preforward passes before two of them; then a test."""
    case, steps = RECORDED[number]
    layer = layer_of(case, steps, "TRAIN")
    ahead = False
    for (kind, iteration), step in zip(case["steps"], steps, strict=True):
        if kind == "test":
            trained, layer = layer, layer_of(case, steps, "TEST")
            for blob, other in zip(layer.blobs, trained.blobs, strict=True):
                blob.data.copy_(other)
        layer.begin(iteration)
        if (kind == "ahead") != ahead:
            ahead = not ahead
            layer.look_ahead(ahead)
        bottom = torch.tensor(step["x"], requires_grad=True)
        layer.pairs = recorded_pairs(step, "forward") if kind != "ahead" else None
        first, *others = layer(bottom, torch.tensor(step["y"]))
        assert torch.equal(first, bottom)
        tops = dict(zip(TOPS, others, strict=True))
        for name in TOPS:
            if name in step:
                assert close(tops[name], step[name]), (kind, iteration, name)
        if kind == "train":
            assert close(layer.blobs[0], step["counts"])
            assert close(layer.blobs[1], step["means"])
            layer.pairs = recorded_pairs(step, "backward")
            first.backward(torch.tensor(step["above"]))
            assert close(bottom.grad, step["below"]), (kind, iteration)
            assert not any(blob.grad.any() for blob in layer.blobs)


def test_the_gradient_of_aligned_pairs_is_the_true_one():
    """Against differences in numpy: two items of a pair, each with its share in its class's mean."""
    x, classes = values(6, 4), np.array([0, 1, 1, -1, -1, -1])
    means = np.stack([x[:1].mean(0), x[1:3].mean(0)])
    body = (
        "homo_mean_loss_param { ovalize_clipprop: 1 ovalize_interval: 1 ovalize_duration: 1 topdiff_interval: 0 "
        'average_initmode: false ovalize_regular: "expsubsqr-sqroots-sqroots" }'
    )
    layer = make("HomoMeanLoss", body, [x.shape, classes.shape], phase="TRAIN")
    one = torch.ones(1, dtype=torch.float64)
    layer.pairs = lambda _: Pairs(torch.tensor([1]), torch.tensor([4]), one, 0.5 * one, torch.tensor(True))
    bottom = torch.tensor(x, requires_grad=True)
    layer(bottom, torch.tensor(classes)).sum().backward()

    def measured(first, second):
        moved = means.copy()
        moved[1] += (first - x[1]) / 2  # item 1 is one of two of its class
        gap = sum(math.dist(first, mean) - math.dist(second, mean) for mean in moved)
        return (1 - math.exp(-(gap**2))) / 2

    step = 1e-6
    for row, weight in ((1, 1), (4, 0.5)):
        for i in range(4):
            ends = []
            for sign in (1, -1):
                moved = x.copy()
                moved[row, i] += sign * step
                ends.append(measured(moved[1], moved[4]))
            assert bottom.grad[row, i].item() == pytest.approx(weight * (ends[0] - ends[1]) / (2 * step), abs=1e-8)
    assert not bottom.grad[[0, 2, 3, 5]].any()


def test_what_it_keeps_has_an_order():
    """States of two runs are the same bytes."""
    case, steps = RECORDED[0]
    kept = [name for name, _ in layer_of(case, steps, "TRAIN").named_buffers() if name.endswith("_mean")]
    assert kept == [f"{name}_mean" for name in TOPS[1:]]


# ---------------------------------------------------------------- pairs


CLASSES = torch.tensor([0, -1, 2, -1, 1, -1, 7, -1])
BARE, LABELLED = {1, 3, 5, 7}, {0, 2, 4}


def test_pairs_are_of_their_tasks_and_each_as_often():
    tasks = Tasks((1.0, 0.5), (0.75, 2.0), (3.0, 4.0))
    torch.manual_seed(0)
    seen = [Counter() for _ in range(4)]
    for _ in range(3000):
        pairs = drawn(CLASSES, -1, 7, tasks, 11)
        assert pairs.valid
        assert pairs.first_weight.tolist() == [1, 1, 0.75, 0.75, 3, 3, 4, 4]
        assert pairs.second_weight.tolist() == [0.5, 0.5, 2, 2, 4, 4, 3, 3]
        for i, pair in enumerate(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)):
            seen[i // 2][pair] += 1
    for (first, second), counts in zip(
        ((LABELLED, LABELLED), (BARE, BARE), (LABELLED, BARE), (BARE, LABELLED)), seen, strict=True
    ):
        assert set(counts) == {(a, b) for a in first for b in second}
        share = 6000 / len(counts)
        assert all(abs(count - share) < 6 * share**0.5 for count in counts.values())


def test_a_task_without_weights_has_no_pairs_and_too_few_items_none():
    pairs = drawn(CLASSES, -1, 7, Tasks((0.0, 0.0), (1.0, 0.0), (0.0, 0.0)), 3)
    assert sorted(pairs.first.tolist()) == sorted(set(pairs.first.tolist()))
    assert set(pairs.first.tolist()) | set(pairs.second.tolist()) <= BARE
    assert not drawn(CLASSES, -1, 7, Tasks((0.0, 0.0), (0.0, 0.0), (0.0, 0.0)), 3).valid
    assert not drawn(torch.tensor([0, -1, -1]), -1, 7, Tasks((1.0, 1.0), (1.0, 1.0), (1.0, 1.0)), 4).valid


def test_of_a_side_with_too_few_items_the_first_come_again():
    pairs = drawn(CLASSES, -1, 7, Tasks((1.0, 1.0), (0.0, 0.0), (0.0, 0.0)), 7)
    assert set(pairs.first.tolist()) == LABELLED
    assert pairs.first[3:6].tolist() == pairs.first[:3].tolist()


# ---------------------------------------------------------------- what is wrong, what is told


@pytest.mark.parametrize(
    ("body", "shapes", "tops", "word"),
    [
        ("cluster_measure: 'rawsubsqr'", [(4, 3), (4,)], 1, "rawsubsqr-overall-average"),
        ("topdiff_clipmode: 'blobal-diff-based'", [(4, 3), (4,)], 1, "unclipped"),
        ("replica_activate: false", [(4, 3), (4,)], 1, "replica_activate"),
        ("label_nmax: 0", [(4, 3), (4,)], 1, "label_nmax"),
        ("ovalize_interval: -1", [(4, 3), (4,)], 1, "ovalize_interval"),
        ("", [(4, 3), (5,)], 1, "classes for each item"),
        ("predict_activate: true", [(4, 3), (4,)], 3, "3 tops, but 2 activated"),
    ],
)
def test_what_cannot_be_is_named(body, shapes, tops, word):
    with pytest.raises(LayerError, match=word):
        make("HomoMeanLoss", f"homo_mean_loss_param {{ {body} }}", shapes, tops=tops)


def test_a_solver_without_topdiff_clipprop_is_told(caplog):
    layer = make("HomoMeanLoss", "", [(4, 3), (4,)], phase="TRAIN")
    bottom = torch.tensor(values(4, 3), requires_grad=True)
    layer(bottom, torch.zeros(4)).sum().backward()
    assert (bottom.grad == 1).all()  # without a solver, as with topdiff_clipprop: 1
    layer.begin(0)
    assert "topdiff_clipprop: 1" in caplog.text
    bottom.grad = None
    layer(bottom, torch.zeros(4)).sum().backward()
    assert not bottom.grad.any()
