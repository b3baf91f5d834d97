"""A stranger's policy, update rule, source of data and measure of a test: trained, tested, saved and resumed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest


@pytest.fixture(scope="module")
def walked(walk: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    return walk("training_walk.py")


def rates() -> list[float]:
    """Halved from iterations 5 and 10 on."""
    return [0.01 * (1 + 0.25 * math.sin(i)) / 2 ** (i // 5) for i in range(12)]


def clock(indices: range, bright: int) -> tuple[np.ndarray, np.ndarray]:
    images = np.zeros((len(indices), 16))
    images[np.arange(len(indices)), [i % 16 for i in indices]] = bright * 0.01
    return images, np.array([i % 4 for i in indices])


def losses_and_gradients(
    weight: np.ndarray, bias: np.ndarray, images: np.ndarray, labels: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """Mean cross-entropy of softmax(W x + b), and its gradient to W and b."""
    logits = images @ weight.T + bias
    logits -= logits.max(1, keepdims=True)
    likelihood = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    loss = float(-np.log(likelihood[np.arange(len(labels)), labels]).mean())
    error = (likelihood - np.eye(4)[labels]) / len(labels)
    return loss, error.T @ images, error.sum(0)


def by_hand(found: dict[str, Any]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Weights and history after the 12 iterations, in float64."""
    params = [np.array(values) for values in found["start"]]
    history = [np.zeros_like(values) for values in params]
    for i, rate in enumerate(rates()):
        _, *gradients = losses_and_gradients(*params, *clock(range(4 * i, 4 * i + 4), 100))
        for k in range(2):
            gradient = gradients[k] + 0.001 * params[k]
            params[k] = params[k] - rate * np.sign(0.8 * history[k] + 0.2 * gradient)
            history[k] = 0.95 * history[k] + 0.05 * gradient
    return params, history


def test_the_rate_follows_its_field_and_its_steps(walked: dict[str, Any]) -> None:
    np.testing.assert_allclose(walked["rates"], rates(), rtol=1e-5)
    assert walked["status"] == [["5", "1"], ["10", "2"], ["10", "2"]]  # of the whole run, then of the resumed one
    assert walked["current_step"] == 2


def test_it_trains_as_float64_does(walked: dict[str, Any]) -> None:
    params, history = by_hand(walked)
    for have, want in zip(walked["end"], [*params, *history], strict=True):
        np.testing.assert_allclose(np.array(have).reshape(want.shape), want, rtol=1e-4, atol=1e-6)


def test_a_resumed_run_ends_bit_for_bit_as_an_unstopped_one(walked: dict[str, Any]) -> None:
    assert walked["resumed alike"]
    assert walked["scores"][0] == walked["scores"][1]


def test_its_measure_tells_the_worst_batch(walked: dict[str, Any]) -> None:
    weight, bias = by_hand(walked)[0]
    losses = [losses_and_gradients(weight, bias, *clock(range(k, k + 4), 200))[0] for k in (0, 4, 8)]
    assert walked["scores"][0]["worst_loss"] == pytest.approx(max(losses), rel=1e-4)
    assert walked["scores"][0]["worst_batch"] == losses.index(max(losses))
    assert [name for name, _ in walked["lines"]] == ["worst_loss", "worst_batch"] * 3  # of iterations 0, 6 and 12
