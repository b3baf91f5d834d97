"""GaussianMMDLoss against its formula in float64 numpy, pair by pair, and against gradcheck."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from test_branch_losses import branches, make, run

from sdcaffe.errors import LayerError


def loss_of(param: str = "", shape=(6, 5)):
    return make("GaussianMMDLoss", f"gaussian_mmd_param {{ {param} }}", [shape] * 2)


def reference(a: np.ndarray, b: np.ndarray, sigmas, unbiased: bool = False) -> float:
    def kernel(x, y):
        return np.mean([np.exp(-((x - y) ** 2).sum() / (2 * sigma**2)) for sigma in sigmas])

    n = len(a)
    within = [
        kernel(one[i], one[j])
        for one in (a, b)
        for i, j in itertools.product(range(n), repeat=2)
        if i != j or not unbiased
    ]
    across = [kernel(x, y) for x in a for y in b]
    return np.sum(within) / (n * (n - 1) if unbiased else n * n) - 2 * np.mean(across)


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    both = np.concatenate([a, b]).reshape(2 * len(a), -1)
    return np.sort([np.sqrt(((x - y) ** 2).sum()) for x, y in itertools.combinations(both, 2)])


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("sigmas", [(1.5,), (0.5, 2.0, 8.0)])
def test_the_loss_is_its_formula_with_given_bandwidths(sigmas, unbiased):
    a, b = branches(6, 5)
    given = " ".join(f"bandwidth: {sigma}" for sigma in sigmas)
    layer = loss_of(f"{given} unit: ONE unbiased: {str(unbiased).lower()}")
    loss, *_ = run(layer, a, b)
    np.testing.assert_allclose(loss, reference(a, b, sigmas, unbiased), rtol=1e-10)


@pytest.mark.parametrize("n", [4, 5])  # 28 and 45 pairs
def test_bandwidths_are_multiples_of_the_median_or_the_mean_distance(n):
    a, b = branches(n, 3)
    d = distances(a, b)
    median, mean = d[(len(d) - 1) // 2], d.mean()
    for param, unit in (("", median), ("unit: MEDIAN", median), ("unit: MEAN", mean)):
        loss, *_ = run(loss_of(param, (n, 3)), a, b)
        sigmas = unit * np.array([0.25, 0.5, 1, 2, 4])
        np.testing.assert_allclose(loss, reference(a, b, sigmas), rtol=1e-10)
        loss, *_ = run(loss_of(f"{param} bandwidth: 0.7 bandwidth: 3", (n, 3)), a, b)
        np.testing.assert_allclose(loss, reference(a, b, unit * np.array([0.7, 3])), rtol=1e-6)  # 0.7 in float32


@pytest.mark.parametrize("unit", ["MEDIAN", "MEAN"])
def test_the_unit_is_a_constant_to_the_gradient(unit):
    a, b = branches(4, 3)
    d = distances(a, b)
    sigma = {"MEDIAN": d[(len(d) - 1) // 2], "MEAN": d.mean()}[unit]
    _, *gradients = run(loss_of(f"unit: {unit} bandwidth: 1", (4, 3)), a, b, weight=0.5)
    step = 1e-6
    for which, gradient in enumerate(gradients):
        for index in np.ndindex(4, 3):
            ends = []
            for sign in (1, -1):
                moved = [a.copy(), b.copy()]
                moved[which][index] += sign * step
                ends.append(reference(*moved, [sigma]))
            assert gradient[index] == pytest.approx(0.5 * (ends[0] - ends[1]) / (2 * step), abs=1e-8)


@pytest.mark.parametrize("unbiased", ["true", "false"])
def test_the_gradient_is_exact(unbiased):
    a, b = (torch.from_numpy(x).requires_grad_() for x in branches(4, 3, 2))
    layer = loss_of(f"bandwidth: 1 bandwidth: 3 unit: ONE unbiased: {unbiased}", (4, 3, 2))
    assert torch.autograd.gradcheck(layer, (a, b))


def test_equal_features_have_no_discrepancy_and_no_gradient():
    same = np.ones((5, 4), np.float32)
    for a in (same, branches(5, 4, dtype=np.float32)[0]):
        loss, *gradients = run(loss_of(shape=(5, 4)), a, a.copy())
        assert loss == pytest.approx(0, abs=1e-6)
        for gradient in gradients:
            np.testing.assert_allclose(gradient, 0, atol=1e-6)


def test_float32_agrees_with_float64_far_from_the_origin():
    a, b = branches(32, 64)
    for have, want in zip(
        run(loss_of(shape=a.shape), (a + 50).astype(np.float32), (b + 50).astype(np.float32)),
        run(loss_of(shape=a.shape), a + 50, b + 50),
        strict=True,
    ):
        np.testing.assert_allclose(have, want, rtol=1e-4, atol=1e-6)


def test_no_step_needs_a_value_from_the_device():
    assert loss_of("")(*(torch.empty(6, 5, device="meta"),) * 2).shape == ()


@pytest.mark.parametrize(
    ("param", "shapes", "words"),
    [
        ("", [(4, 5), (4, 6)], "4 5 .20. and 4 6"),
        ("", [(4,), (4,)], r"\(N, ...\)"),
        ("unit: ONE", [(4, 5)] * 2, "give a bandwidth"),
        ("bandwidth: 1 bandwidth: 0", [(4, 5)] * 2, "must be a positive number"),
        ("bandwidth: nan", [(4, 5)] * 2, "must be a positive number"),
        ("unbiased: true", [(1, 5)] * 2, "batch of 2 or more"),
    ],
)
def test_mistakes_name_the_layer_and_the_values(param, shapes, words):
    with pytest.raises(LayerError, match=rf'layer "ab" \(GaussianMMDLoss\).*{words}'):
        make("GaussianMMDLoss", f"gaussian_mmd_param {{ {param} }}", shapes)
