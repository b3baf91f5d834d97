"""MultiBoxLoss on cases small enough to be worked out by hand: what the recordings do not show."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fork_layers import make

from sdcaffe.errors import LayerError

# The prior boxes are the labelled boxes themselves.
BOXES = [[0.1, 0.1, 0.5, 0.5], [0.6, 0.6, 1.2, 1.2]]


def loss_of(body, location, confidence, labels, boxes=None, priors=BOXES, item=0):
    prior = np.array([[np.ravel(priors), np.full(4 * len(priors), 0.1)]], np.float32)
    rows = np.array(
        [[[[item, label, 0, *box, 0] for label, box in zip(labels, boxes or priors, strict=True)]]], np.float32
    )
    bottoms = [
        np.asarray(location, np.float32),
        np.asarray(confidence, np.float32),
        prior,
        np.array([[rows]], np.float32),
    ]
    layer = make("MultiBoxLoss", f"multibox_loss_param {{ {body} }}", [b.shape for b in bottoms], double=False)
    given = [torch.from_numpy(b).requires_grad_(i < 2) for i, b in enumerate(bottoms)]
    loss = layer(*given)
    loss.backward()
    return loss.item(), given[0].grad.numpy()


def test_sides_outside_the_image_cost_nothing_with_bp_inside():
    """Offsets of 1 cost 0.5 a side; two of the second box's sides reach out of the image."""
    silent = np.array([[-50.0, 50, -50, 50]])
    for body, gradient in (("", [0.5] * 8), ("bp_inside: true", [0.5] * 6 + [0, 0])):
        loss, found = loss_of(f"num_classes: 2 {body}", np.ones((1, 8)), silent, [1, 1])
        assert loss == pytest.approx(0.5 * sum(gradient))
        assert found.tolist() == [gradient]


def test_objects_of_any_label_are_one_class_with_map_object_to_agnostic():
    """Scores that are sure of class 1 cost nothing for a box of label 7."""
    sure = np.array([[-50.0, 50, -50, 50]])
    body = "num_classes: 2 map_object_to_agnostic: true mining_type: NONE"
    assert loss_of(body, np.zeros((1, 8)), sure, [7, 1])[0] == pytest.approx(0)
    assert loss_of(body, np.zeros((1, 8)), -sure, [7, 1])[0] == pytest.approx(87.3365, abs=1e-3)


def test_a_negative_that_overlaps_a_costlier_one_is_not_mined():
    """Of two negatives in one place only one counts once overlaps are looked at, by prior or by predicted boxes."""
    priors = [[0.1, 0.1, 0.4, 0.4], [0.5, 0.5, 0.9, 0.9], [0.5, 0.5, 0.9, 0.9]]
    scores = np.array([[-50.0, 50, 2, 0, 1, 0]])
    one, both = np.log1p(np.exp(-1)), np.log1p(np.exp(-1)) + np.log1p(np.exp(-2))
    nms = "nms_param { nms_threshold: 0.5 top_k: 9 }"
    for more, cost in (("", both), (nms, one), (nms + " use_prior_for_nms: true", one)):
        found, _ = loss_of(f"num_classes: 2 {more}", np.zeros((1, 12)), scores, [1], priors[:1], priors)
        assert found == pytest.approx(cost, rel=1e-5)


def test_a_batch_without_boxes_costs_nothing_and_has_a_gradient_of_0():
    loss, gradient = loss_of("num_classes: 2", np.ones((1, 8)), np.ones((1, 4)), [0, 0], item=-1)
    assert loss == 0
    assert not gradient.any()


def test_a_box_of_no_area_matches_nothing():
    loss, gradient = loss_of("num_classes: 2", np.ones((1, 4)), np.ones((1, 2)), [1], [[0.2, 0.2, 0.2, 0.4]], BOXES[:1])
    assert loss == 0
    assert not gradient.any()


WRONG = [
    ("num_classes: 2 mining_type: HARD_EXAMPLE sample_size: 0", "sample_size must be at least 1"),
    ("num_classes: 3 map_object_to_agnostic: true", "map_object_to_agnostic needs num_classes: 2"),
    ("", "num_classes must be at least 1"),
    ("num_classes: 4", "need confidences of shape 1 8"),
]


@pytest.mark.parametrize(("body", "message"), WRONG)
def test_a_wrong_setting_is_one_clear_line(body, message):
    with pytest.raises(LayerError, match=message):
        loss_of(body, np.zeros((1, 8)), np.zeros((1, 4)), [1, 1])
