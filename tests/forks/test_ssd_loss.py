"""MultiBoxLoss on cases small enough to be worked out by hand: what the recordings do not show."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from fork_layers import make
from multibox_reference import multibox_loss, multibox_loss_of_classes

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


def test_a_ratio_below_0_mines_no_negative():
    silent = np.array([[-50.0, 50, 50, -50]])
    zeros = np.zeros((1, 8))
    assert loss_of("num_classes: 2 neg_pos_ratio: -1", zeros, silent, [1], BOXES[:1], BOXES)[0] == pytest.approx(0)
    assert loss_of("num_classes: 2 neg_pos_ratio: 1e30", zeros, -silent, [1], BOXES[:1], BOXES)[0] > 170


OPTIONS = {
    "mining_type": ("MAX_NEGATIVE", "HARD_EXAMPLE", "NONE"),
    "match_type": ("PER_PREDICTION", "BIPARTITE"),
    "conf_loss_type": ("SOFTMAX", "LOGISTIC"),
    "loc_loss_type": ("SMOOTH_L1", "L2"),
    "code_type": ("CENTER_SIZE", "CORNER", "CORNER_SIZE"),
    "use_prior_for_matching": (True, False),
    "nms_threshold": (0, 0.6),
    "use_prior_for_nms": (False, True),
    "ignore_cross_boundary_bbox": (False, True),
    "bp_inside": (False, True),
    "encode_variance_in_target": (False, True),
}
FIXED = {"overlap_threshold": 0.4, "neg_overlap": 0.45, "neg_pos_ratio": 2.5, "sample_size": 7, "nms_top_k": 9}


def settings(count):
    """Every pair of mining and matching modes with every kind of loss, the other options drawn."""
    random = np.random.RandomState(0)
    names = list(OPTIONS)
    for mode in itertools.product(*(OPTIONS[name] for name in names[:4])):
        for _ in range(count):
            drawn = [values[random.randint(len(values))] for values in list(OPTIONS.values())[4:]]
            yield {**FIXED, **dict(zip(names, [*mode, *drawn], strict=True))}


def text_of(o):
    own = {name: value for name, value in o.items() if not name.startswith("nms_")}
    body = " ".join(
        f"{name}: {str(value).lower() if isinstance(value, bool) else value}" for name, value in own.items()
    )
    nms = f" nms_param {{ nms_threshold: {o['nms_threshold']} top_k: {o['nms_top_k']} }}" if o["nms_threshold"] else ""
    return f"multibox_loss_param {{ num_classes: 4 {body}{nms} }}"


@pytest.mark.parametrize("mining", OPTIONS["mining_type"])
def test_every_mining_matching_and_loss_is_the_forks_definition(mining):
    random = np.random.RandomState(3)
    n, boxes, classes = 3, 14, 4
    tried = [o for o in settings(10) if o["mining_type"] == mining]
    assert len(tried) == 80
    for o in tried:
        centre, size = random.uniform(0.1, 0.9, (boxes, 2)), random.uniform(0.2, 0.6, (boxes, 2))
        priors = np.concatenate([centre - size / 2, centre + size / 2], 1)
        variances = np.tile([0.1, 0.1, 0.2, 0.2], (boxes, 1))
        truth = [
            [(random.randint(1, classes), np.r_[corner, corner + side]) for corner, side in zip(a, b, strict=True)]
            for a, b in ((random.uniform(0, 0.5, (k, 2)), random.uniform(0.2, 0.5, (k, 2))) for k in (3, 0, 2))
        ]
        location, confidence = random.randn(n, boxes, 4), 2 * random.randn(n, boxes, classes)
        if o["mining_type"] == "NONE" and o["conf_loss_type"] == "LOGISTIC":
            truth[1:] = [[], []]  # the fork's targets are right for the first item of a batch alone
        rows = [[i, label, 0, *box, 0] for i, own in enumerate(truth) for label, box in own]
        prior = np.stack([priors.ravel(), variances.ravel()])[None]
        arrays = [location.reshape(n, -1), confidence.reshape(n, -1), prior, np.array(rows)[None, None]]
        given = [torch.tensor(a, dtype=torch.float32).requires_grad_(i < 2) for i, a in enumerate(arrays)]
        layer = make("MultiBoxLoss", text_of(o), [a.shape for a in arrays], double=False)
        loss = layer(*given)
        loss.backward()
        numbers = [t.detach().double().numpy() for t in given]  # rounded as the layer has them
        wide = numbers[0].reshape(n, boxes, 4), numbers[1].reshape(n, boxes, classes)
        boxes_of = [[(label, np.float32(box).astype(float)) for label, box in own] for own in truth]
        p, v = numbers[2].reshape(2, boxes, 4)
        expected, *gradients = multibox_loss(*wide, p, v, boxes_of, o)
        assert loss.item() == pytest.approx(expected, rel=1e-4), o
        for tensor, gradient in zip(given[:2], gradients, strict=True):
            assert np.allclose(tensor.grad.numpy(), gradient.reshape(n, -1), rtol=1e-3, atol=1e-5), o


APART = {
    "match_type": ("PER_PREDICTION", "BIPARTITE"),
    "use_prior_for_matching": (False, True),
    "loc_loss_type": ("SMOOTH_L1", "L2"),
    "code_type": ("CENTER_SIZE", "CORNER", "CORNER_SIZE"),
    "encode_variance_in_target": (False, True),
    "bp_inside": (False, True),
}


@pytest.mark.parametrize("inside_only", [False, True])
def test_offsets_of_each_class_apart_answer_for_the_boxes_of_that_class(inside_only):
    """The labels of an item stand in any order, and several classes may find one prior box."""
    random = np.random.RandomState(7)
    n, boxes, classes = 3, 12, 4
    several = 0
    for values in itertools.product(*APART.values()):
        o = dict(zip(APART, values, strict=True)) | {
            "share_location": False,
            "mining_type": "NONE",
            "conf_loss_type": "SOFTMAX",
            "overlap_threshold": 0.3,
            "ignore_cross_boundary_bbox": inside_only,
            "nms_threshold": 0,
        }
        centre, size = random.uniform(0.1, 0.9, (boxes, 2)), random.uniform(0.2, 0.6, (boxes, 2))
        priors = np.concatenate([centre - size / 2, centre + size / 2], 1)
        corners, sides = random.uniform(0, 0.5, (n, 5, 2)), random.uniform(0.2, 0.5, (n, 5, 2))
        whole = np.float32(np.concatenate([corners, corners + sides], 2)).astype(float)
        truth = [list(zip(random.randint(1, classes, 5), own, strict=True)) for own in whole]
        truth[1] = []
        rows = [[i, label, 0, *box, 0] for i, own in enumerate(truth) for label, box in own]
        prior = np.stack([priors.ravel(), np.tile([0.1, 0.1, 0.2, 0.2], boxes)])[None]
        arrays = [0.5 * random.randn(n, boxes * classes * 4), 2 * random.randn(n, boxes * classes), prior]
        arrays.append(np.array(rows)[random.permutation(len(rows))][None, None])
        truth = [[(int(row[1]), row[3:7]) for row in arrays[3][0, 0] if row[0] == i] for i in range(n)]
        given = [torch.tensor(a, dtype=torch.float32).requires_grad_(i < 2) for i, a in enumerate(arrays)]
        layer = make("MultiBoxLoss", text_of(o), [a.shape for a in arrays], double=False)
        loss = layer(*given)
        loss.backward()
        numbers = [t.detach().double().numpy() for t in given]
        p, v = numbers[2].reshape(2, boxes, 4)
        expected, *gradients = multibox_loss_of_classes(
            numbers[0].reshape(n, boxes, classes, 4), numbers[1].reshape(n, boxes, classes), p, v, truth, o
        )
        several += (gradients[0].any(3).sum(2) > 1).any()
        assert loss.item() == pytest.approx(expected, rel=1e-4), o
        for tensor, gradient in zip(given[:2], gradients, strict=True):
            assert np.allclose(tensor.grad.numpy(), gradient.reshape(n, -1), rtol=1e-3, atol=1e-5), o
    assert several


def test_labels_beyond_the_classes_match_no_box_of_a_class():
    """With map_object_to_agnostic any label is taken; where classes have boxes apart those are of no class."""
    body = "num_classes: 2 map_object_to_agnostic: true share_location: false mining_type: NONE"
    sure = np.array([[50.0, -50, -50, 50]])
    for more in ("use_prior_for_matching: false", "use_prior_for_matching: true"):
        loss, gradient = loss_of(f"{body} {more}", np.zeros((1, 16)), sure, [7, 1])
        assert loss == pytest.approx(0), more
        assert not gradient.any()


WRONG = [
    ("num_classes: 2 mining_type: HARD_EXAMPLE sample_size: 0", "sample_size must be at least 1"),
    ("num_classes: 2 conf_loss_type: LOGISTIC background_label_id: 2", "mining needs one below num_classes"),
    ("num_classes: 2 neg_pos_ratio: nan", "neg_pos_ratio must be a number, not nan"),
    ("num_classes: 3 map_object_to_agnostic: true", "map_object_to_agnostic needs num_classes: 2"),
    ("", "num_classes must be at least 1"),
    ("num_classes: 4", "need confidences of shape 1 8"),
]


@pytest.mark.parametrize(("body", "message"), WRONG)
def test_a_wrong_setting_is_one_clear_line(body, message):
    with pytest.raises(LayerError, match=message):
        loss_of(body, np.zeros((1, 8)), np.zeros((1, 4)), [1, 1])
