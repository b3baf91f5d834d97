"""A stranger's package, installed: its layers are trained, fused, folded, exported, drawn, counted, saved, resumed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def walked(walk: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """What `stranger_walk` prints where the package is installed."""
    return walk("stranger_walk.py")


def by_hand(found: dict[str, Any]) -> np.ndarray:
    """The deployed net in float64."""
    weights = {name: [np.array(blob, np.float64) for blob in blobs] for name, blobs in found["weights"].items()}

    def conv(x: np.ndarray, name: str) -> np.ndarray:
        weight, bias = weights[name]
        return np.einsum("oc,nchw->nohw", weight[:, :, 0, 0], x) + bias[:, None, None]

    def norm(x: np.ndarray, name: str, scale: str) -> np.ndarray:
        mean, variance, factor, bias = (blob[:, None, None] for blob in (*weights[name], *weights[scale]))
        return np.maximum((x - mean) / np.sqrt(variance + 0.001) * factor + bias, 0)

    x = norm(conv(np.array(found["x"]), "conv"), "norm", "scale")
    x = x / (1 + np.exp(-x * weights["gate"][0][:, None, None]))
    x = norm(conv(x, "conv2"), "norm2", "scale2")
    return conv(x, "last").mean((2, 3), keepdims=True)


def test_it_is_trained_and_resumed(walked: dict[str, Any]) -> None:
    assert walked["resumed alike"]
    assert any(value != 2 for value in walked["weights"]["gate"][0])
    assert all(abs(mean) > 0 for mean in walked["weights"]["norm"][0])


def test_its_norm_takes_the_scale_and_the_relu_along(walked: dict[str, Any]) -> None:
    """The second stands before a convolution that alone reads it, which makes the gradient ReLU may write over."""
    assert walked["called in training"] == [["norm", True, False], ["norm2", True, True]]


def test_its_norm_is_folded_into_the_convolution(walked: dict[str, Any]) -> None:
    assert walked["called in the test phase"] == []
    assert "BatchNormalization" not in walked["operators"]
    assert walked["operators"].count("Conv") == 3


@pytest.mark.parametrize("form", ["net", "onnx", "module"])
def test_every_form_gives_the_numbers_of_float64(walked: dict[str, Any], form: str) -> None:
    np.testing.assert_allclose(walked[form], by_hand(walked), rtol=1e-4, atol=1e-5)


def test_it_is_drawn_counted_and_listed(walked: dict[str, Any]) -> None:
    assert "StrangeGate by channel" in walked["drawing"]
    (gate,) = [line.split() for line in walked["summary"].splitlines() if "StrangeGate" in line]
    assert gate[-4:-1] == ["6", "192", "768"]
    (listed,) = [line for line in walked["layers"].splitlines() if line.startswith("StrangeGate ")]
    assert listed.endswith("strange-layers 3.1")
    assert "4712 to" in walked["layers"]
    assert walked["norm"].startswith("StrangeNorm, from strange-layers 3.1\n")
    assert "ONNX:           yes\nPyTorch source: yes\n" in walked["norm"]


def test_its_parts_stand_in_the_source(walked: dict[str, Any]) -> None:
    assert "class Gate(nn.Module)" in walked["source"]
    assert "sdcaffe" not in walked["source"].split("import torch")[1]


def test_nothing_in_sdcaffe_names_it() -> None:
    root = HERE.parents[1]
    for folder in ("sdcaffe", "converters"):
        for path in (root / folder).rglob("*.py"):
            assert "strange" not in path.read_text().lower().replace("stranger", ""), path
