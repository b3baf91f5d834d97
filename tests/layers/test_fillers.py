"""Fillers against their definitions; the statistics of random ones on a blob large enough to tell."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sdcaffe import proto
from sdcaffe.errors import LayerError
from sdcaffe.layers import fillers


def filled(shape, **options):
    torch.manual_seed(1)
    tensor = torch.full(shape, math.nan)
    norm = options.pop("variance_norm", None)
    filler = proto.FillerParameter(**options)
    if norm:
        filler.variance_norm = proto.schema.enum_value("FillerParameter.VarianceNorm", norm)
    fillers.fill(tensor, filler)
    return tensor.double().numpy()


def test_constant_is_the_default_and_zero():
    assert (filled((2, 3)) == 0).all()
    assert (filled((2, 3), type="constant", value=1.5) == 1.5).all()


def test_uniform_covers_its_range():
    values = filled((100, 100), type="uniform", min=-1, max=3)
    assert -1 <= values.min() < -0.99
    assert 2.99 < values.max() <= 3
    assert abs(values.mean() - 1) < 0.05


def test_gaussian_has_its_mean_and_deviation():
    values = filled((100, 200), type="gaussian", mean=2, std=0.5)
    assert abs(values.mean() - 2) < 0.02
    assert abs(values.std() - 0.5) < 0.02


def test_sparse_gaussian_keeps_that_many_inputs_an_output():
    values = filled((50, 1000), type="gaussian", std=1, sparse=10)
    assert abs((values != 0).mean() - 10 / 50) < 0.01


def test_positive_unitball_rows_sum_to_one():
    values = filled((7, 2, 3, 3), type="positive_unitball")
    assert (values > 0).all()
    np.testing.assert_allclose(values.reshape(7, -1).sum(1), 1, rtol=1e-6)


@pytest.mark.parametrize(("norm", "n"), [("FAN_IN", 64 * 9), ("FAN_OUT", 32 * 9), ("AVERAGE", 48 * 9)])
def test_xavier_and_msra_scale_with_the_fan(norm, n):
    shape = (32, 64, 3, 3)
    xavier = filled(shape, type="xavier", variance_norm=norm)
    assert abs(xavier).max() <= math.sqrt(3 / n) * (1 + 1e-6)
    assert abs(xavier.std() / math.sqrt(1 / n) - 1) < 0.02
    assert abs(filled(shape, type="msra", variance_norm=norm).std() / math.sqrt(2 / n) - 1) < 0.02


def test_bilinear_is_the_outer_product_of_a_tent():
    # factor 2, kernel 4: the upsampling kernel of the segmentation nets
    line = np.array([0.25, 0.75, 0.75, 0.25])
    np.testing.assert_allclose(filled((3, 1, 4, 4), type="bilinear"), np.tile(np.outer(line, line), (3, 1, 1, 1)))


@pytest.mark.parametrize(
    ("shape", "options", "says"),
    [
        ((2, 3), {"type": "msar"}, "unknown filler"),
        ((5,), {"type": "msra"}, "two axes"),
        ((2, 2, 3, 4), {"type": "bilinear"}, "square"),
        ((2, 3), {"type": "xavier", "sparse": 3}, "sparse"),
        ((2, 3), {"type": "gaussian", "sparse": -7}, "sparse is -7"),
        ((2, 3), {"type": "gaussian", "std": -1}, "std of at least 0, not -1"),
        ((2, 3), {"type": "uniform", "min": 1, "max": -1}, "min <= max"),
        ((2, 0), {"type": "msra"}, "nothing to fill"),
    ],
)
def test_a_filler_that_cannot_says_why(shape, options, says):
    with pytest.raises(LayerError, match=says):
        filled(shape, **options)


def test_the_seed_decides():
    assert (filled((4, 4), type="msra") == filled((4, 4), type="msra")).all()
