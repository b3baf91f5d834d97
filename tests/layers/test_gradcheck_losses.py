"""Backward of each loss against numeric differences, over shapes and options that hypothesis picks."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from layer_building import apart, few, gradients_agree, make, normal, whole

size = st.integers(1, 4)
seed = st.integers(0, 99)
inner = st.lists(st.integers(1, 3), max_size=2)
MODES = ["", "normalization: FULL", "normalization: VALID", "normalization: BATCH_SIZE", "normalization: NONE"]
mode = st.sampled_from([*MODES, "normalize: true", "normalize: false"])
ignore = st.sampled_from(["", "ignore_label: 0", "ignore_label: 255"])


@few
@given(n=size, classes=st.integers(2, 5), inner=inner, first=st.booleans(), mode=mode, ignore=ignore, seed=seed)
def test_softmax_with_loss(n, classes, inner, first, mode, ignore, seed):
    shape, axis = ((n, classes, *inner), 1) if first else ((n, *inner, classes), -1)
    body = f"loss_param {{ {mode} {ignore} }} softmax_param {{ axis: {axis} }}"
    label = whole(0, classes, n, *inner, seed=seed)
    if "255" in ignore:
        label.view(-1)[::3] = 255
    assert gradients_agree(make("SoftmaxWithLoss", body, shape, label.shape), normal(*shape, seed=seed), label)


@few
@given(
    n=size,
    classes=st.integers(2, 4),
    inner=inner,
    mode=st.sampled_from(MODES),
    ignore=st.sampled_from(["", "ignore_label: 0"]),
    seed=seed,
)
def test_infogain_loss(n, classes, inner, mode, ignore, seed):
    shape, matrix = (n, classes, *inner), normal(classes, classes, seed=seed).detach()
    label = whole(0, classes, n, *inner, seed=seed)
    layer = make("InfogainLoss", f"loss_param {{ {mode} {ignore} }}", shape, label.shape, matrix.shape)
    assert gradients_agree(layer, normal(*shape, seed=seed), label, matrix)


@few
@given(n=size, rest=inner, mode=mode, ignore=st.sampled_from(["", "ignore_label: -1"]), seed=seed)
def test_sigmoid_cross_entropy_loss(n, rest, mode, ignore, seed):
    shape = (n, *rest)
    layer = make("SigmoidCrossEntropyLoss", f"loss_param {{ {mode} {ignore} }}", shape, shape)
    assert gradients_agree(layer, normal(*shape, seed=seed), whole(-1 if ignore else 0, 2, *shape, seed=seed))


@few
@given(n=size, rest=inner, seed=seed)
def test_euclidean_loss(n, rest, seed):
    shape = (n, *rest)
    layer = make("EuclideanLoss", "", shape, shape)
    assert gradients_agree(layer, normal(*shape, seed=seed), normal(*shape, seed=seed + 100))


@few
@given(n=size, rest=st.lists(size, min_size=1, max_size=2), norm=st.sampled_from(["L1", "L2"]), seed=seed)
def test_hinge_loss(n, rest, norm, seed):
    shape = (n, *rest)
    layer = make("HingeLoss", f"hinge_loss_param {{ norm: {norm} }}", shape, (n,))
    scores = apart(*shape, seed=seed)
    label = whole(0, torch.Size(rest).numel(), n, seed=seed)
    # Whole steps of `apart` may put a margin at its kink of exactly 1.
    scores = (scores.detach() + 1e-3).requires_grad_()
    assert gradients_agree(layer, scores, label)


@few
@given(n=size, channels=size, margin=st.sampled_from([0.5, 2.0, 6.0]), seed=seed)
def test_contrastive_loss_of_pairs_that_belong_together_or_in_its_legacy_form(n, channels, margin, seed):
    """The other form has 1e-4 beside the distance in Caffe's backward: test_contrastive_loss.py."""
    a, b = normal(n, channels, seed=seed), normal(n, channels, seed=seed + 100)
    for legacy, flag in ("false", torch.ones(n)), ("true", whole(0, 2, n, seed=seed)):
        body = f"contrastive_loss_param {{ margin: {margin} legacy_version: {legacy} }}"
        assert gradients_agree(make("ContrastiveLoss", body, a.shape, b.shape, (n,)), a, b, flag)


@few
@given(n=size, classes=size, seed=seed)
def test_multinomial_logistic_loss(n, classes, seed):
    probability = normal(n, classes, seed=seed).detach().softmax(1).requires_grad_()
    layer = make("MultinomialLogisticLoss", "", (n, classes), (n,))
    assert gradients_agree(layer, probability, whole(0, classes, n, seed=seed))
