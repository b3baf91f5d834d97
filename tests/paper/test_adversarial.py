"""Adversarial against FGSM written out by hand in float64 numpy, and what it must leave alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sdcaffe import Layer, Net, proto, register
from sdcaffe.errors import LayerError
from sdcaffe.layers import discover
from sdcaffe.proto import text

discover()


@register("TestTestifier")
class Testifier(Layer):
    """The gradient of its second bottom by its first, as a top: a stranger's layer that differentiates."""

    __test__ = False
    bottoms = 2
    gradient_bottoms = (0,)

    def setup(self, bottom_shapes):
        return [bottom_shapes[0]]

    def forward(self, x, loss):
        return torch.autograd.grad(loss, x, retain_graph=True)[0].detach()


INPUTS = """
layer { name: "in" type: "Input" top: "image" top: "label"
  input_param { shape { dim: 4 dim: 3 dim: 2 dim: 2 } shape { dim: 4 } } }
"""
BRANCH_A = """
layer { name: "phi" type: "Distort" bottom: "image" top: "a" distort_param { mean_value: 0.5 std_value: 2 } }
layer { name: "fc" type: "InnerProduct" bottom: "a" top: "z_a" param { name: "w" } param { name: "b" }
  inner_product_param { num_output: 5 weight_filler { type: "gaussian" std: 1 } bias_filler { type: "gaussian" } } }
layer { name: "loss_a" type: "SoftmaxWithLoss" bottom: "z_a" bottom: "label" top: "loss_a" }
"""
ATTACK = """
layer { name: "attack" type: "Adversarial" bottom: "a" bottom: "loss_a" top: "b"
  adversarial_param { epsilon: 0.25 %s } }
"""
BRANCH_B = """
layer { name: "b_fc" type: "InnerProduct" bottom: "b" top: "z_b" param { name: "w" } param { name: "b" }
  inner_product_param { num_output: 5 } }
layer { name: "loss_b" type: "SoftmaxWithLoss" bottom: "z_b" bottom: "label" top: "loss_b" }
"""
WHOLE = INPUTS + BRANCH_A + ATTACK % "" + BRANCH_B


def built(prototxt: str, phase: int = proto.TRAIN) -> Net:
    param = proto.NetParameter()
    text.parse(prototxt, param, "test")
    torch.manual_seed(0)
    return Net(param, phase)


def given(seed: int = 0) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    return {"image": torch.rand(4, 3, 2, 2, generator=random), "label": torch.tensor([0, 3, 1, 4])}


def softmax_loss(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
    """The mean loss, and its derivatives by x, w and b."""
    z = x @ w.T + b
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    labels = np.eye(5)[given()["label"].numpy()]
    slope = (p - labels) / len(x)
    return -(labels * np.log(p)).sum() / len(x), slope @ w, slope.T @ x, slope.sum(0)


@pytest.mark.parametrize(
    ("std", "steps"),
    [("", [0.25] * 3), ("std_value: 2", [0.125] * 3), ("std_value: 1 std_value: 2 std_value: 5", [0.25, 0.125, 0.05])],
)
def test_the_second_branch_is_fgsm_and_both_branches_train_the_weights(std, steps):
    net = built(INPUTS + BRANCH_A + ATTACK % std + BRANCH_B)
    w, b = (blob.detach().double().numpy().copy() for blob in net.params["fc"])
    result = net.compute(net.feed(given()), keep=("a", "b"))
    x = ((given()["image"].double().numpy() - 0.5) / 2).reshape(4, -1)
    loss_a, slope, w_a, b_a = softmax_loss(x, w, b)
    attacked = x + np.sign(slope) * np.repeat(steps, 4)
    np.testing.assert_allclose(result.blobs["b"].detach().numpy().reshape(4, -1), attacked, atol=1e-6)
    loss_b, _, w_b, b_b = softmax_loss(attacked, w, b)
    assert loss_b > loss_a
    assert result.loss.item() == pytest.approx(loss_a + loss_b, rel=1e-6)
    result.loss.backward()
    # both branches' own gradients and no more: nothing from the attack's, nothing through it
    np.testing.assert_allclose(net.params["fc"][0].grad.numpy(), w_a + w_b, atol=1e-6)
    np.testing.assert_allclose(net.params["fc"][1].grad.numpy(), b_a + b_b, atol=1e-6)


def test_the_given_images_are_left_as_they_were():
    net = built(WHOLE)
    images = given()
    before = images["image"].clone()
    net.compute(net.feed(images)).loss.backward()
    assert torch.equal(images["image"], before)
    assert not images["image"].requires_grad
    assert images["image"].grad is None


def test_an_input_blob_can_be_attacked():
    attack = ATTACK.replace('bottom: "a"', 'bottom: "image"') % ""
    net = built(INPUTS + BRANCH_A.replace("mean_value: 0.5 std_value: 2", "") + attack + BRANCH_B)
    images = given()
    blobs = net.compute(net.feed(images), keep=("b",)).blobs
    moved = (blobs["b"] - images["image"]).abs()
    torch.testing.assert_close(moved, torch.full_like(moved, 0.25))
    assert not images["image"].requires_grad


@pytest.mark.parametrize("context", [torch.no_grad, torch.enable_grad])
def test_the_attack_is_the_same_where_no_gradients_are_kept(context):
    net = built(WHOLE)
    with torch.enable_grad():
        expected = net.compute(net.feed(given()))
    with context():
        result = net.compute(net.feed(given()))
    assert torch.equal(result.loss, expected.loss)
    assert net.first_not_finite(net.feed(given())) is None


def test_a_pass_with_kept_blobs_and_one_without_are_the_same():
    net = built(WHOLE)
    batch = net.feed(given())
    assert torch.equal(net.compute(batch).loss, net.compute(batch, keep=("a", "z_a", "z_b")).loss)


def test_batch_statistics_are_collected_once_a_branch():
    params = " ".join(f'param {{ name: "{name}" lr_mult: 0 }}' for name in ("m", "v", "c"))
    norm = f'layer {{ name: "%sbn" type: "BatchNorm" bottom: "%s" top: "%sn" {params} }}\n'
    text_a = BRANCH_A.replace('bottom: "a" top: "z_a"', 'bottom: "an" top: "z_a"')
    text_a = text_a.replace('layer { name: "fc"', norm % ("", "a", "a") + 'layer { name: "fc"')
    text_b = norm % ("b_", "b", "b") + BRANCH_B.replace('bottom: "b" top', 'bottom: "bn" top')
    net = built(INPUTS + text_a + ATTACK % "" + text_b)
    blobs = net.compute(net.feed(given()), keep=("a", "b")).blobs
    means = [blobs[name].detach().double().mean((0, 2, 3)) for name in ("a", "b")]
    total, _, count = net.params["bn"]
    torch.testing.assert_close(total.double(), 0.999 * means[0] + means[1], atol=1e-6, rtol=0)
    assert count.item() == pytest.approx(1.999)


def test_a_stranger_s_layer_differentiates_likewise():
    net = built(INPUTS + BRANCH_A + 'layer { name: "t" type: "TestTestifier" bottom: "a" bottom: "loss_a" top: "g" }')
    w, b = (blob.detach().double().numpy() for blob in net.params["fc"])
    blobs = net.compute(net.feed(given())).blobs
    x = ((given()["image"].double().numpy() - 0.5) / 2).reshape(4, -1)
    np.testing.assert_allclose(blobs["g"].numpy().reshape(4, -1), softmax_loss(x, w, b)[1], atol=1e-6)


def test_nets_without_such_layers_record_nothing():
    net = built(INPUTS + BRANCH_A)
    blobs = net.compute(net.feed(given()), keep=("a",)).blobs
    assert not blobs["a"].requires_grad
    with torch.no_grad():
        assert not net.compute(net.feed(given())).loss.requires_grad


UNRELATED = BRANCH_A.replace('bottom: "a"', 'bottom: "image"')
CUT = BRANCH_A.replace('top: "z_a" param', 'top: "z_a" propagate_down: false param')


@pytest.mark.parametrize("branch", [UNRELATED, CUT])
def test_a_loss_that_does_not_depend_on_the_images_is_named(branch):
    net = built(INPUTS + branch + ATTACK % "" + BRANCH_B)
    with pytest.raises(
        LayerError, match=r'layer "attack" \(Adversarial\): its loss "loss_a.*" does not depend on "a.*" in this'
    ):
        net.compute(net.feed(given()))


@pytest.mark.parametrize(
    ("attack", "words"),
    [
        (ATTACK.replace("epsilon: 0.25", "") % "", "epsilon must be a positive number, not 0"),
        (ATTACK.replace("0.25", "nan") % "", "not nan"),
        (ATTACK % "std_value: 1 std_value: 2", "2 of std_value for 3 channels"),
        (ATTACK % "std_value: 0", "std_value must be positive"),
        (ATTACK.replace('bottom: "a"', 'bottom: "label"') % "", r"a blob \(N, C, ...\) to attack, not 4 \(4\)"),
    ],
)
def test_mistakes_name_the_layer_and_the_values(attack, words):
    with pytest.raises(LayerError, match=rf'layer "attack" \(Adversarial\).*{words}'):
        built(INPUTS + BRANCH_A + attack + BRANCH_B)
