"""LRN against loops in float64 numpy, and its checks of a prototxt."""

from __future__ import annotations

import gradients
import numpy as np
import pytest
import reference
import torch
from golden import build, close, one_layer
from hypothesis import given
from hypothesis import strategies as st

from sdcaffe.errors import LayerError


@gradients.few
@given(
    shape=st.tuples(st.integers(1, 2), st.integers(1, 7), st.integers(1, 5), st.integers(1, 5)),
    size=st.sampled_from([1, 3, 5, 9]),
    alpha=st.floats(0, 2),
    beta=st.floats(0, 2),
    k=st.floats(0.5, 3),
    region=st.sampled_from(["ACROSS_CHANNELS", "WITHIN_CHANNEL"]),
)
def test_any_neighbourhood(shape: tuple[int, ...], size: int, alpha: float, beta: float, k: float, region: str) -> None:
    alpha, beta, k = (float(np.float32(v)) for v in (alpha, beta, k))
    body = f"local_size: {size} alpha: {alpha!r} beta: {beta!r} k: {k!r} norm_region: {region}"
    bottom = np.random.RandomState(0).randn(*shape)
    layer, (tensor,) = gradients.double(one_layer("LRN", f"lrn_param {{ {body} }}"), [bottom])
    top = reference.lrn(bottom, size, alpha, beta, k, within=region == "WITHIN_CHANNEL")
    close(layer(tensor), top, tolerance=1e-12)


def test_defaults() -> None:
    """local_size 5, alpha 1, beta 0.75, k 1, across channels; any engine."""
    bottom = np.random.RandomState(0).randn(2, 6, 3, 3)
    layer, (tensor,) = gradients.double(one_layer("LRN", "lrn_param { engine: CAFFE }"), [bottom])
    close(layer(tensor), reference.lrn(bottom, 5, 1.0, 0.75, 1.0), tolerance=1e-12)


@pytest.mark.parametrize("region", ["ACROSS_CHANNELS", "WITHIN_CHANNEL"])
def test_the_top_stays_channels_last(region: str) -> None:
    layer = build(one_layer("LRN", f"lrn_param {{ norm_region: {region} }}"), [(2, 8, 4, 4)])
    bottom = torch.randn(2, 8, 4, 4).contiguous(memory_format=torch.channels_last)
    assert layer(bottom).is_contiguous(memory_format=torch.channels_last)


def test_an_even_size_is_refused() -> None:
    with pytest.raises(LayerError, match=r"local_size \(=4\) must be odd"):
        build(one_layer("LRN", "lrn_param { local_size: 4 }"), [(1, 1, 2, 2)])
