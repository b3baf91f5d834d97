import numpy as np
import pytest
import torch
from layer_building import backward, make, normal, whole

from sdcaffe import proto
from sdcaffe.errors import LayerError


def reference(scores, label, matrix, ignore, divisor):
    """Loss and gradient for classes on axis 1 of (n, classes, inner), as in Caffe: p sum(H row) - H row."""
    p = np.exp(scores - scores.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    label = label.reshape(scores.shape[0], scores.shape[2]).astype(int)
    kept = np.ones(label.shape, bool) if ignore is None else label != ignore
    row = matrix[np.where(kept, label, 0)].transpose(0, 2, 1) * kept[:, None]
    divisor = max(1, kept.sum()) if divisor is None else divisor
    loss = -(row * np.log(np.maximum(p, 1e-20))).sum() / divisor
    return loss, (p * row.sum(1, keepdims=True) - row) / divisor


@pytest.mark.parametrize(
    ("body", "ignore", "divisor"),
    [
        ("", None, 12),
        ("loss_param { ignore_label: 2 }", 2, None),
        ("loss_param { normalization: BATCH_SIZE ignore_label: 2 }", 2, 3),
        ("loss_param { normalization: FULL ignore_label: 2 }", 2, 12),
        ("loss_param { normalization: NONE }", None, 1),
    ],
)
def test_loss_and_gradient_are_caffes(body, ignore, divisor):
    shape = (3, 5, 2, 2)
    layer = make("InfogainLoss", body, shape, (3, 1, 2, 2), (1, 1, 5, 5))
    scores, label, matrix = normal(*shape), whole(0, 5, 3, 1, 2, 2), normal(1, 1, 5, 5, seed=1)
    arrays = scores.detach().numpy().reshape(3, 5, 4), label.numpy(), matrix.detach().numpy()[0, 0]
    loss, gradient = reference(*arrays, ignore, divisor)
    top = layer(scores, label, matrix)
    np.testing.assert_allclose(top.item(), loss, rtol=1e-12)
    np.testing.assert_allclose(backward(top, scores)[0].reshape(3, 5, 4), gradient, atol=1e-14)


def test_a_bounded_probability_keeps_its_gradient():
    layer = make("InfogainLoss", "", (1, 2), (1,), (2, 2))
    scores = torch.tensor([[0.0, -100.0]], dtype=torch.float64, requires_grad=True)
    top = layer(scores, torch.ones(1), torch.eye(2))
    assert top.item() == pytest.approx(-np.log(1e-20))
    np.testing.assert_allclose(backward(top, scores)[0], [[1, -1]])


def test_axis_and_second_top():
    scores, label = normal(2, 3, 4), whole(0, 4, 2, 3)
    layer = make("InfogainLoss", "infogain_loss_param { axis: -1 }", (2, 3, 4), (2, 3), (4, 4), tops=2)
    softmax = make("SoftmaxWithLoss", "softmax_param { axis: -1 }", (2, 3, 4), (2, 3), tops=2)
    loss, probability = layer(scores, label, torch.eye(4))
    expected = softmax(scores, label)
    np.testing.assert_allclose(loss.item(), expected[0].item(), rtol=1e-12)
    np.testing.assert_allclose(probability, expected[1], rtol=1e-12)
    assert layer.top_shapes == [(), (2, 3, 4)]


def test_the_matrix_may_come_from_a_file(tmp_path):
    matrix = np.random.default_rng(0).random((1, 1, 3, 3)).astype(np.float32)
    path = tmp_path / "infogain.binaryproto"
    proto.write_blob(path, matrix)
    scores, label = normal(4, 3), whole(0, 3, 4)
    layer = make("InfogainLoss", f'infogain_loss_param {{ source: "{path}" }}', (4, 3), (4,))
    loss, _ = reference(scores.detach().numpy()[:, :, None], label.numpy(), matrix[0, 0].astype(float), None, 4)
    assert layer(scores, label).item() == pytest.approx(loss)


@pytest.mark.parametrize(
    ("body", "shapes", "message"),
    [
        ("", [(4, 3), (4,)], "needs its matrix"),
        ("", [(4, 3), (4,), (1, 1, 2, 3)], "must be 3 x 3"),
        ("loss_param { normalize: true }", [(4, 3), (4,), (3, 3)], 'use "normalization"'),
        ("", [(4, 3, 2), (4,), (3, 3)], "need 8 labels, not 4"),
    ],
)
def test_what_does_not_fit(body, shapes, message):
    with pytest.raises(LayerError, match=message):
        make("InfogainLoss", body, *shapes)
