"""The real CIFAR-100, where it is present: its published size, balance, channel means and deviations."""

from __future__ import annotations

import os

import numpy as np
import pytest

from sdcaffe.data.cifar import _SETS, _find, read_cifar

ROOT = os.environ.get("SDCAFFE_DATA") or "data"

pytestmark = pytest.mark.skipif(
    _find(_SETS["cifar100"], ROOT, "train") is None,
    reason=f"no CIFAR-100 in {ROOT}; put cifar-100-binary or cifar-100-python there or set SDCAFFE_DATA",
)


def test_cifar100_is_the_published_set():
    images, labels = read_cifar("cifar100", "train", ROOT)
    assert images.shape == (50_000, 3, 32, 32)
    assert (np.bincount(labels) == 500).all()
    pixels = images.reshape(50_000, 3, 1024).astype(np.float32) / 255
    assert np.allclose(pixels.mean((0, 2), dtype=np.float64), [0.5071, 0.4865, 0.4409], atol=2e-4)
    assert np.allclose(pixels.std((0, 2), dtype=np.float64), [0.2673, 0.2564, 0.2762], atol=2e-4)
    test_images, test_labels = read_cifar("cifar100", "test", ROOT)
    assert test_images.shape == (10_000, 3, 32, 32)
    assert (np.bincount(test_labels) == 100).all()
