"""SPP against poolings in float64 numpy, and its checks of a prototxt."""

from __future__ import annotations

import gradients
import numpy as np
import pytest
import reference
import torch
from golden import build, close, one_layer

from sdcaffe.errors import LayerError


@pytest.mark.parametrize("pool", ["MAX", "AVE"])
@pytest.mark.parametrize("size", [(9, 7), (4, 4), (10, 13)])
def test_spp_is_poolings_side_by_side(pool: str, size: tuple[int, int]) -> None:
    """Level i: kernel and stride ceil(n / 2^i), pad half of what 2^i kernels have too much, rounded up."""
    bottom = gradients.distinct((2, 3, *size))
    layer, (tensor,) = gradients.double(one_layer("SPP", f"spp_param {{ pyramid_height: 3 pool: {pool} }}"), [bottom])
    parts = []
    for bins in (1, 2, 4):
        kernel = [-(-n // bins) for n in size]
        pad = [(k * bins - n + 1) // 2 for k, n in zip(kernel, size, strict=True)]
        parts.append(reference.pool(bottom, pool, kernel, kernel, pad)[0].reshape(2, -1))
    close(layer(tensor), np.concatenate(parts, 1), tolerance=1e-12)


def test_spp_of_height_1_keeps_four_axes() -> None:
    layer = build(one_layer("SPP", "spp_param { pyramid_height: 1 }"), [(2, 3, 5, 4)])
    bottom = torch.rand(2, 3, 5, 4)
    assert layer.top_shapes == [(2, 3, 1, 1)]
    assert torch.equal(layer(bottom), bottom.amax((2, 3), keepdim=True))


@pytest.mark.parametrize(("phase", "exact"), [("TEST", True), ("TRAIN", False)])
def test_spp_pools_stochastically(phase: str, exact: bool) -> None:
    text = one_layer("SPP", "spp_param { pyramid_height: 2 pool: STOCHASTIC }")
    bottom = gradients.positive((1, 2, 4, 4))
    layer, (tensor,) = gradients.double(text, [bottom], phase)
    top = layer(tensor)
    assert top.shape == (1, 10)
    if exact:
        parts = [reference.pool(bottom, "STOCHASTIC", (k, k), (k, k), (0, 0))[0].reshape(1, -1) for k in (4, 2)]
        close(top, np.concatenate(parts, 1), tolerance=1e-12)
    else:
        assert set(top.flatten().tolist()) <= set(bottom.flatten().tolist())


@pytest.mark.parametrize(
    ("height", "message"), [(0, "pyramid_height (=0)"), (3, "4 by 4 bins are too many for an image of 5 by 9")]
)
def test_a_wrong_pyramid_is_refused(height: int, message: str) -> None:
    with pytest.raises(LayerError) as caught:
        build(one_layer("SPP", f"spp_param {{ pyramid_height: {height} }}"), [(1, 1, 5, 9)])
    assert message in str(caught.value)
