"""Mixup and MixupLoss against Zhang et al.'s formulas in float64 numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import beta, kstest

from sdcaffe import Net, proto
from sdcaffe.errors import DataError, LayerError
from sdcaffe.layers import discover
from sdcaffe.layers.base import Layer, layer_class
from sdcaffe.proto import text

discover()


def make(type_name: str, shapes, param: str = "", phase: int = proto.TRAIN) -> Layer:
    message = proto.LayerParameter()
    text.parse(f'name: "mix" type: "{type_name}" {param}', message, "test")
    layer = layer_class(type_name)(message, phase)
    layer.top_shapes = layer.setup(list(shapes))
    return layer


def test_every_blob_is_blended_with_the_same_partner_and_weight():
    torch.manual_seed(0)
    a, b = torch.rand(6, 3, 4, 4), torch.rand(6, 5)
    labels = torch.arange(6) + 10  # each once: a label says which image it is of
    layer = make("Mixup", [a.shape, b.shape, (6,)])
    assert layer.top_shapes == [(6, 3, 4, 4), (6, 5), (6, 3)]
    mixed_a, mixed_b, mixed = layer(a, b, labels)
    first, second, weight = mixed.double().numpy().T
    partner = second.astype(int) - 10
    np.testing.assert_array_equal(first, labels)
    assert sorted(partner) == list(range(6))
    assert len(set(weight)) == 1
    for images, blended in ((a, mixed_a), (b, mixed_b)):
        images = images.double().numpy()
        expected = weight[0] * images + (1 - weight[0]) * images[partner]
        np.testing.assert_allclose(blended.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("alpha", [0.05, 0.2, 1.0, 4.0])
def test_the_weight_follows_a_beta_distribution(alpha):
    torch.manual_seed(1)
    layer = make("Mixup", [(2, 1), (2,)], f"mixup_param {{ alpha: {alpha} }}")
    weights = np.array([layer(torch.zeros(2, 1), torch.zeros(2))[1][0, 2].item() for _ in range(1500)])
    assert np.isfinite(weights).all()
    cut = weights[(weights > 1e-6) & (weights < 1 - 1e-6)]  # what float32 rounds to 0 and 1 has no density
    low, high = beta(alpha, alpha).cdf([1e-6, 1 - 1e-6])
    assert len(cut) / 1500 == pytest.approx(high - low, abs=0.05)
    assert kstest(cut, lambda x: (beta(alpha, alpha).cdf(x) - low) / (high - low)).pvalue > 0.001


def test_every_partner_is_as_likely():
    torch.manual_seed(2)
    layer = make("Mixup", [(4, 1), (4,)])
    partners = torch.stack([layer(torch.zeros(4, 1), torch.arange(4))[1][:, 1] for _ in range(2000)]).long().numpy()
    for image in range(4):
        counts = np.bincount(partners[:, image], minlength=4)
        assert ((counts - 500) ** 2 / 500).sum() < 16.3  # the 0.999 quantile of chi squared with 3 degrees of freedom


def test_draws_come_from_the_default_generator():
    layer = make("Mixup", [(5, 2), (5,)])
    given = torch.rand(5, 2), torch.arange(5)
    torch.manual_seed(3)
    first = layer(*given)
    torch.manual_seed(3)
    assert all(torch.equal(x, y) for x, y in zip(first, layer(*given), strict=True))


def test_outside_training_nothing_is_blended():
    images, labels = torch.rand(5, 2), torch.arange(5)
    state = torch.get_rng_state()
    top, mixed = make("Mixup", [(5, 2), (5,)], phase=proto.TEST)(images, labels)
    assert torch.equal(top, images)
    np.testing.assert_array_equal(mixed.numpy(), np.stack([labels, labels, np.ones(5)], 1))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 1, 1)])
def test_the_loss_weighs_the_cross_entropies_of_both_labels(shape):
    random = np.random.RandomState(0)
    z = random.randn(*shape)
    first, second, weight = np.array([0, 1, 2, 1]), np.array([2, 1, 0, 0]), 0.3
    mixed = torch.tensor(np.stack([first, second, np.full(4, weight)], 1))
    logits = torch.from_numpy(z).requires_grad_()
    loss = make("MixupLoss", [shape, (4, 3)])(logits, mixed)
    (0.5 * loss).backward()
    p = np.exp(z.reshape(4, 3)) / np.exp(z.reshape(4, 3)).sum(1, keepdims=True)
    target = weight * np.eye(3)[first] + (1 - weight) * np.eye(3)[second]
    assert loss.item() == pytest.approx(-(target * np.log(p)).sum() / 4, rel=1e-12)
    np.testing.assert_allclose(logits.grad.numpy().reshape(4, 3), 0.5 * (p - target) / 4, rtol=1e-10)


def test_with_one_label_it_is_the_softmax_loss():
    z, labels = torch.randn(8, 5), torch.randint(5, (8,)).float()
    mixed = torch.stack([labels, labels, torch.rand(8)], 1)
    expected = torch.nn.functional.cross_entropy(z, labels.long())
    torch.testing.assert_close(make("MixupLoss", [(8, 5), (8, 3)])(z, mixed), expected)


def test_a_net_trains_on_blends_and_tests_on_images():
    net_text = """
    layer { name: "in" type: "Input" top: "data" top: "label"
      input_param { shape { dim: 6 dim: 4 } shape { dim: 6 } } }
    layer { name: "mixup" type: "Mixup" bottom: "data" bottom: "label" top: "mixed" top: "mixed_label" }
    layer { name: "fc" type: "InnerProduct" bottom: "mixed" top: "fc"
      inner_product_param { num_output: 3 weight_filler { type: "msra" } } }
    layer { name: "loss" type: "MixupLoss" bottom: "fc" bottom: "mixed_label" top: "loss" }
    """
    param = proto.NetParameter()
    text.parse(net_text, param, "test")
    given = {"data": torch.rand(6, 4), "label": torch.arange(6) % 3}
    for phase in (proto.TRAIN, proto.TEST):
        torch.manual_seed(0)
        net = Net(param, phase)
        result = net.compute(net.feed(given), keep=("mixed", "mixed_label", "fc"))
        assert torch.equal(result.blobs["mixed"], given["data"]) == (phase == proto.TEST)
        first, second, weight = result.blobs["mixed_label"].unbind(1)
        log_p = result.blobs["fc"].double().log_softmax(1)
        rows = torch.arange(6)
        expected = -(weight * log_p[rows, first.long()] + (1 - weight) * log_p[rows, second.long()]).mean()
        assert result.loss.item() == pytest.approx(expected.item(), rel=1e-6)
        result.loss.backward()
        assert net.params["fc"][0].grad.any()


def test_a_label_out_of_range_is_named():
    mixed = torch.tensor([[0.0, 3.0, 0.5]])
    with pytest.raises(DataError, match=r'layer "mix" \(MixupLoss\): label 3 is out of range'):
        make("MixupLoss", [(1, 3), (1, 3)])(torch.zeros(1, 3), mixed)


@pytest.mark.parametrize(
    ("type_name", "shapes", "param", "words"),
    [
        ("Mixup", [(4, 3), (5,)], "", "5 labels and a bottom of shape 4 3"),
        ("Mixup", [(4, 3), (4, 2), (4, 2)], "", "8 labels"),
        ("Mixup", [(4, 3), (4,)], "mixup_param { alpha: 0 }", "alpha must be from 0.01"),
        ("Mixup", [(4, 3), (4,)], "mixup_param { alpha: nan }", "not nan"),
        ("MixupLoss", [(4, 3), (4,)], "", r"\(N, 3\), not 4 3 \(12\) and 4 \(4\)"),
        ("MixupLoss", [(4, 3, 2, 2), (4, 3)], "", r"\(N, K, 1, 1\)"),
    ],
)
def test_mistakes_name_the_layer_and_the_values(type_name, shapes, param, words):
    with pytest.raises(LayerError, match=rf'layer "mix" \({type_name}\).*{words}'):
        make(type_name, shapes, param)
