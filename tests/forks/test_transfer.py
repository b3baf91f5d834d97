"""Layers of transfer learning: their values, a training that stops and goes on, thuml's MMDLoss by its distribution."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from fork_layers import make, net_param, values

import sdcaffe
from sdcaffe.cli import main
from sdcaffe.errors import SdcaffeError

SCALER = "gradient_scaler_param { lower_bound: 0.25 upper_bound: 1 alpha: 5 max_iter: 8 threshold_iter: 2 }"


def factor(iteration):
    """The reversal grows as a logistic curve from lower_bound towards upper_bound."""
    if iteration < 2:
        return 0
    return 0.25 + 0.75 * math.tanh(5 * min(1, iteration / 8) / 2)


def test_gradient_scaler_follows_the_iterations():
    layer = make("GradientScaler", SCALER, [(2, 3), (4,)], tops=2)
    for iteration in (None, 0, 1, 2, 5, 8, 20):
        if iteration is not None:
            layer.begin(iteration)
        bottoms = [torch.tensor(values(*shape), requires_grad=True) for shape in ((2, 3), (4,))]
        tops = layer(*bottoms)
        for top, bottom in zip(tops, bottoms, strict=True):
            assert torch.equal(top, bottom)
            (gradient,) = torch.autograd.grad(top.sum(), bottom, retain_graph=True)
            assert torch.allclose(gradient, torch.full_like(gradient, -(1 if iteration is None else factor(iteration))))


def test_entropy_loss_waits():
    layer = make("EntropyLoss", "entropy_param { iterations_num: 2 threshold: 0.1 }", [(2, 2), (2,)])
    prob, label = torch.tensor([[0.05, 0.95], [0.5, 0.5]], dtype=torch.float64, requires_grad=True), torch.zeros(2)
    found = []
    for _ in range(3):
        loss = layer(prob, label)
        (gradient,) = torch.autograd.grad(loss, prob)
        found.append((loss.item(), gradient))
    assert [value for value, _ in found[:2]] == [0, 0]
    assert not found[0][1].any()
    p = prob.detach().numpy()
    assert found[2][0] == pytest.approx((p * np.log(p)).sum())  # below 0
    expected = np.where(p >= 0.1, -(1 + np.log(p)), 0) / 2
    assert np.allclose(found[2][1], expected)


NET = """
layer { name: "data" type: "DummyData" top: "data" top: "label"
  dummy_data_param { shape { dim: 6 dim: 4 } shape { dim: 6 } data_filler { type: "gaussian" std: 1 }
    data_filler { type: "constant" value: 1 } } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "slice" type: "Slice" bottom: "fc" top: "source" top: "target" slice_param { axis: 0 slice_point: 2 } }
layer { name: "mmd" type: "MMDLoss" bottom: "source" bottom: "target" top: "mmd" mmd_param { kernel_num: 3 } }
layer { name: "turn" type: "GradientScaler" bottom: "fc" top: "turned" gradient_scaler_param { max_iter: 6 } }
layer { name: "domain" type: "InnerProduct" bottom: "turned" top: "domain"
  inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
layer { name: "domain_loss" type: "SoftmaxWithLoss" bottom: "domain" bottom: "label" top: "domain_loss" }
layer { name: "prob" type: "Softmax" bottom: "domain" top: "prob" }
layer { name: "entropy" type: "EntropyLoss" bottom: "prob" bottom: "label" top: "entropy"
  entropy_param { iterations_num: 4 } }
"""


def test_a_training_goes_on_where_it_stopped(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text(NET)
    (tmp_path / "solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 0.05 lr_policy: "fixed" max_iter: 8 snapshot: 3 snapshot_prefix: "net"\n'
        "random_seed: 3 display: 1"
    )
    assert main(["train", "-solver", "solver.prototxt"]) == 0
    whole = (tmp_path / "net_iter_8.solverstate").read_bytes()
    assert main(["train", "-solver", "solver.prototxt", "-snapshot", "net_iter_3.solverstate"]) == 0
    assert (tmp_path / "net_iter_8.solverstate").read_bytes() == whole


def chances(n):
    """How likely each pair of different rows is drawn: the one behind the first twice, for itself and for a tie."""
    odds = np.ones((n, n)) - np.eye(n) + np.roll(np.eye(n), 1, 1)
    return odds / odds.sum()


def expected_loss(source, target, gamma, num, mul):
    """What a quadruple contributes on average."""
    rows = np.concatenate([source, target])
    squared = ((rows[:, None] - rows) ** 2).sum(-1)
    kernels = sum(np.exp(-gamma * mul ** (k - num // 2) * squared) for k in range(num))
    n = len(source)
    within = (chances(n) * kernels[:n, :n]).sum() + (chances(len(target)) * kernels[n:, n:]).sum()
    # s1 and t2 are drawn apart, and so are s2 and t1: any row is as likely as any other.
    return within - 2 * kernels[:n, n:].mean()


def test_thumls_mmd_loss_is_right_on_average():
    torch.manual_seed(0)
    source, target = values(3, 2), 0.5 + values(5, 2, seed=1)
    layer = make("MMDLoss", "mmd_param { kernel_num: 4 kernel_mul: 3 }", [source.shape, target.shape])
    rows = np.concatenate([source, target])
    gamma = (64 - 8) / ((rows[:, None] - rows) ** 2).sum()
    losses, slopes = [], []
    for _ in range(3000):
        bottoms = [torch.tensor(values, requires_grad=True) for values in (source, target)]
        loss = layer(*bottoms)
        loss.backward()
        losses.append(loss.item())
        slopes.append(np.concatenate([bottom.grad.numpy() for bottom in bottoms]))
    expected = 5 * expected_loss(source, target, gamma, 4, 3)
    spread = np.std(losses) / math.sqrt(len(losses))
    assert spread > 0
    assert abs(np.mean(losses) - expected) < 4 * spread
    mean, spread = np.mean(slopes, 0), np.std(slopes, 0) / math.sqrt(len(slopes))
    for i, j in np.ndindex(rows.shape):
        step = np.zeros_like(rows)
        step[i, j] = 1e-5
        sides = [expected_loss(*np.split(rows + s * step, [3]), gamma, 4, 3) for s in (1, -1)]
        assert abs(mean[i, j] - (sides[0] - sides[1]) / 2e-5) < 5 * spread[i, j]


def test_gamma_is_the_first_batchs_where_it_is_fixed():
    layer = make("MMDLoss", "mmd_param { kernel_num: 1 fix_gamma: true }", [(2, 1), (2, 1)])
    first = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    found = [layer.gammas(first, first).item(), layer.gammas(10 * first, first).item()]
    assert found[0] == found[1] == pytest.approx(12 / 8)


def test_which_mmd_loss_a_layer_is():
    head = 'layer { name: "in" type: "Input" top: "a" top: "b" input_param { shape { dim: 2 dim: 3 } } }'
    layer = 'layer { name: "mmd" type: "MMDLoss" bottom: "a" bottom: "b" top: "loss" %s }'
    kinds = {}
    for text in ("", "mmd_param { }"):
        net = sdcaffe.Net(net_param(head + layer % text), sdcaffe.TRAIN)
        kinds[text] = type(net.layers["mmd"]).origin
    assert "thuml" in kinds["mmd_param { }"]
    assert "thuml" not in kinds[""]


@pytest.mark.parametrize(
    ("kind", "body", "shapes", "word"),
    [
        ("GradientScaler", "gradient_scaler_param { lower_bound: 2 }", [(2,)], "lower_bound"),
        ("EntropyLoss", "", [(2, 3), (3,)], "one n"),
        ("MMDLoss", "mmd_param { kernel_num: 0 }", [(2, 3), (3, 3)], "kernel_num"),
        ("MMDLoss", "mmd_param { }", [(2, 3), (3, 4)], "one shape"),
        ("PriorBoxClustered", "prior_box_param { width: 3 }", [(1, 2, 3, 3), (1, 3, 9, 9)], "as many height"),
        ("PriorBoxClustered", "prior_box_param { width: 3 height: 0 }", [(1, 2, 3, 3), (1, 3, 9, 9)], "above 0"),
    ],
)
def test_what_is_refused(kind, body, shapes, word):
    with pytest.raises(SdcaffeError, match=word):
        make(kind, body, shapes)


def joint_loss(features, labels, counts, gamma, sigma):
    """What a quadruple contributes on average, with three kernels of features and one of predictions."""
    squared = ((features[:, None] - features) ** 2).sum(-1)
    kernels = sum(np.exp(-gamma * 2.0**k * squared) for k in (-1, 0, 1))
    kernels = kernels * np.exp(-((labels[:, None] - labels) ** 2).sum(-1) / sigma)
    n, m = counts
    return (chances(n) * kernels[:n, :n]).sum() + (chances(m) * kernels[n:, n:]).sum() - 2 * kernels[:n, n:].mean()


def test_jmmd_loss_is_right_on_average():
    torch.manual_seed(0)
    features = np.concatenate([values(3, 2), 0.5 + values(4, 2, seed=1)])
    labels = np.concatenate([values(3, 2, seed=2), values(4, 2, seed=3)])
    body = "jmmd_param { kernel_num: 3 label_kernel_num: 1 sigma: 1.5 }"
    layer = make("JMMDLoss", body, [(3, 2), (4, 2), (3, 2), (4, 2)])
    gamma = (49 - 7) / ((features[:, None] - features) ** 2).sum()
    found = []
    for _ in range(2000):
        bottoms = [
            torch.tensor(part, requires_grad=True) for whole in (features, labels) for part in np.split(whole, [3])
        ]
        loss = layer(*bottoms)
        assert loss.item() == 0
        loss.backward()
        found.append(np.stack([np.concatenate([b.grad.numpy() for b in pair]) for pair in (bottoms[:2], bottoms[2:])]))
    mean, spread = np.mean(found, 0), np.std(found, 0) / math.sqrt(len(found))
    for which, i, j in np.ndindex(2, 7, 2):
        sides = []
        for sign in (1, -1):
            moved = [features.copy(), labels.copy()]
            moved[which][i, j] += sign * 1e-5
            sides.append(joint_loss(*moved, (3, 4), gamma, 1.5))
        assert abs(mean[which, i, j] - (sides[0] - sides[1]) / 2e-5) < 5 * spread[which, i, j]
