import golden
import numpy as np
import pytest
import torch
from layer_building import backward, make, normal, whole

from sdcaffe.errors import DataError, LayerError


def reference(scores, label, axis=1, ignore=None, divisor=None):
    """Loss and gradient in float64: log(max(p, FLT_MIN)) forward, p minus one at the label backward."""
    rows = np.moveaxis(scores, axis, -1)
    flat = rows.reshape(-1, rows.shape[-1])
    p = np.exp(flat - flat.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    label = label.reshape(-1).astype(int)
    kept = np.ones(len(flat), bool) if ignore is None else label != ignore
    at = np.where(kept, label, 0)
    picked = np.log(np.maximum(p[np.arange(len(flat)), at], np.finfo(np.float32).tiny))
    divisor = max(1, kept.sum()) if divisor is None else divisor
    gradient = p.copy()
    gradient[np.arange(len(flat)), at] -= 1
    gradient = (gradient * kept[:, None] / divisor).reshape(rows.shape)
    return -(picked * kept).sum() / divisor, np.moveaxis(gradient, -1, axis)


CASES = [
    # body, scores, label, axis, ignore, divisor
    ("", (5, 7), (5,), 1, None, 5),
    ("", (5, 7), (5, 1), 1, None, 5),
    ("", (5, 7, 1, 1), (5, 1, 1, 1), 1, None, 5),
    ("", (2, 4, 3, 2), (2, 3, 2), 1, None, 12),
    ("", (2, 4, 3, 2), (2, 1, 3, 2), 1, None, 12),
    ("softmax_param { axis: -1 }", (2, 3, 4), (2, 3), 2, None, 6),
    ("softmax_param { axis: 2 }", (2, 3, 4, 2), (2, 3, 2), 2, None, 12),
    ("loss_param { normalization: FULL ignore_label: 1 }", (2, 4, 3, 2), (2, 3, 2), 1, 1, 12),
    ("loss_param { normalization: BATCH_SIZE ignore_label: 1 }", (2, 4, 3, 2), (2, 3, 2), 1, 1, 2),
    ("loss_param { normalization: NONE }", (2, 4, 3, 2), (2, 3, 2), 1, None, 1),
    ("loss_param { normalization: VALID ignore_label: 1 }", (2, 4, 3, 2), (2, 3, 2), 1, 1, None),
    ("loss_param { ignore_label: 255 }", (2, 4, 3, 2), (2, 3, 2), 1, 255, 12),
    ("loss_param { normalize: true ignore_label: 1 }", (2, 4, 3, 2), (2, 3, 2), 1, 1, None),
    ("loss_param { normalize: false ignore_label: 1 }", (2, 4, 3, 2), (2, 3, 2), 1, 1, 2),
    ("loss_param { normalize: false normalization: FULL }", (2, 4, 3, 2), (2, 3, 2), 1, None, 12),
]


@pytest.mark.parametrize(("body", "shape", "label_shape", "axis", "ignore", "divisor"), CASES)
def test_loss_and_gradient_are_caffes(body, shape, label_shape, axis, ignore, divisor):
    layer = make("SoftmaxWithLoss", body, shape, label_shape)
    scores, label = normal(*shape), whole(0, shape[axis], *label_shape)
    loss, gradient = reference(scores.detach().numpy(), label.numpy(), axis, ignore, divisor)
    top = layer(scores, label)
    assert top.shape == layer.top_shapes[0] == ()
    np.testing.assert_allclose(top.item(), loss, rtol=1e-12)
    np.testing.assert_allclose(backward(top, scores)[0], gradient, atol=1e-14)


@pytest.mark.parametrize(
    ("shape", "label_shape", "ignore"), [((5, 7), (5,), None), ((2, 4, 3, 2), (2, 3, 2), None), ((6, 3), (6,), 1)]
)
def test_smoothed_labels_are_torchs(shape, label_shape, ignore):
    body = "loss_param { label_smoothing: 0.2 %s }" % ("" if ignore is None else f"ignore_label: {ignore}")
    layer = make("SoftmaxWithLoss", body, shape, label_shape)
    scores, label = normal(*shape), whole(0, shape[1], *label_shape)
    smoothing = float(np.float32(0.2))
    wanted = torch.nn.functional.cross_entropy(
        scores, label.long(), label_smoothing=smoothing, ignore_index=-100 if ignore is None else ignore
    )
    top = layer(scores, label)
    np.testing.assert_allclose(top.item(), wanted.item(), rtol=1e-12)
    np.testing.assert_allclose(backward(top, scores)[0], torch.autograd.grad(wanted, scores)[0], atol=1e-14)


def test_a_smoothing_of_all_is_refused():
    with pytest.raises(LayerError, match=r"label_smoothing must lie in \[0, 1\), not 1"):
        make("SoftmaxWithLoss", "loss_param { label_smoothing: 1 }", (5, 7), (5,))


def test_channels_last_scores_give_the_same():
    layer = make("SoftmaxWithLoss", "", (2, 4, 3, 2), (2, 1, 3, 2))
    scores, label = normal(2, 4, 3, 2), whole(0, 4, 2, 1, 3, 2)
    turned = scores.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    assert torch.equal(layer(turned, label), layer(scores, label))
    np.testing.assert_array_equal(backward(layer(turned, label), turned)[0], backward(layer(scores, label), scores)[0])


@pytest.mark.parametrize("distance", [200.0, 1e4, np.inf])
def test_a_saturated_softmax_costs_87_3365_and_still_has_its_gradient(distance):
    layer = make("SoftmaxWithLoss", "", (1, 2), (1,)).float()
    scores = torch.tensor([[0.0, -distance]], requires_grad=True)
    top = layer(scores, torch.tensor([1.0]))
    assert top.item() == pytest.approx(87.3365, abs=1e-4)
    np.testing.assert_allclose(backward(top, scores)[0], [[1, -1]])


def test_all_ignored_costs_nothing():
    layer = make("SoftmaxWithLoss", "loss_param { ignore_label: 0 }", (3, 2), (3,))
    scores = normal(3, 2)
    top = layer(scores, torch.zeros(3))
    assert top.item() == 0
    assert not backward(top, scores)[0].any()


def test_labels_may_be_whole_numbers_or_fractions_cut_towards_zero():
    layer = make("SoftmaxWithLoss", "", (3, 4), (3,))
    scores = normal(3, 4)
    expected = layer(scores, torch.tensor([0, 1, 3]))
    assert torch.equal(layer(scores, torch.tensor([-0.9, 1.9, 3.0])), expected)


@pytest.mark.parametrize("label", [4.0, -1.0, 1000.0])
def test_a_label_out_of_range_is_named(label):
    layer = make("SoftmaxWithLoss", "loss_param { ignore_label: 255 }", (3, 4), (3,))
    with pytest.raises(DataError, match=rf'"x" \(SoftmaxWithLoss\): label {label:g} is out of range.*0 to 3.*255'):
        layer(normal(3, 4), torch.tensor([0.0, label, 255.0]))


def test_the_second_top_is_the_probabilities():
    layer = make("SoftmaxWithLoss", "softmax_param { axis: 2 }", (2, 3, 4), (2, 3), tops=2)
    scores = normal(2, 3, 4)
    _, probability = layer(scores, whole(0, 4, 2, 3))
    assert layer.top_shapes == [(), (2, 3, 4)]
    assert not probability.requires_grad
    e = np.exp(scores.detach().numpy())
    np.testing.assert_allclose(probability, e / e.sum(2, keepdims=True), rtol=1e-12)


@pytest.mark.parametrize(
    ("body", "shapes", "message"),
    [
        ("", [(4, 3), (5,)], "same first dimension"),
        ("", [(2, 4, 3, 3), (2,)], "need 18 labels, not 2"),
        ("softmax_param { axis: 2 }", [(4, 3), (4,)], "axis 2 is out of range"),
    ],
)
def test_shapes_that_do_not_fit(body, shapes, message):
    with pytest.raises(LayerError, match=message):
        make("SoftmaxWithLoss", body, *shapes)


def test_scores_that_are_not_numbers_cost_the_bound_in_a_test_and_show_in_training():
    text = golden.one_layer("SoftmaxWithLoss", bottoms=2)
    scores, label = torch.full((2, 3), float("inf")), torch.tensor([0.0, 1.0])
    assert golden.build(text, [(2, 3), (2,)], "TEST")(scores, label).item() == pytest.approx(87.3365, abs=1e-4)
    assert golden.build(text, [(2, 3), (2,)], "TRAIN")(scores, label).isnan()
