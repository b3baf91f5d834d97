"""BatchNorm: its three blobs over several passes, each phase, and the affine that `normalize` takes along."""

from __future__ import annotations

import gradients
import numpy as np
import pytest
import torch
from golden import build, close, one_layer
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from sdcaffe.errors import LayerError
from sdcaffe.layers.batch_norm import normalize_batch

FRACTION, EPS = float(np.float32(0.999)), float(np.float32(1e-5))
shapes = st.lists(st.integers(1, 4), min_size=1, max_size=6).map(tuple)


def by_channel(values: np.ndarray) -> np.ndarray:
    """(channels, values of each); a 1-D bottom is one channel."""
    values = values[:, None] if values.ndim == 1 else values
    return np.moveaxis(values, 1, 0).reshape(values.shape[1], -1)


def normalized(values: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    shape = (1,) if values.ndim == 1 else (-1, *[1] * (values.ndim - 2))
    return (values - mean.reshape(shape)) / np.sqrt(variance.reshape(shape) + EPS)


def fresh(shape: tuple[int, ...], body: str = "", phase: str = "TRAIN") -> torch.nn.Module:
    return build(one_layer("BatchNorm", f"batch_norm_param {{ {body} }}"), [shape], phase).double()


@gradients.few
@given(shape=shapes, passes=st.integers(1, 4), fraction=st.sampled_from([0.0, 0.9, 0.999, 1.0]))
def test_blobs_after_several_batches(shape: tuple[int, ...], passes: int, fraction: float) -> None:
    layer = fresh(shape, f"moving_average_fraction: {fraction}")
    fraction = float(np.float32(fraction))
    channels = shape[1] if len(shape) > 1 else 1
    sums = [np.zeros(channels), np.zeros(channels), np.zeros(1)]
    for seed in range(passes):
        bottom = np.random.RandomState(seed).randn(*shape) * 2 + 3
        rows = by_channel(bottom)
        mean, variance, count = rows.mean(1), rows.var(1), rows.shape[1]
        unbiased = variance * count / (count - 1) if count > 1 else variance
        close(layer(torch.from_numpy(bottom)), normalized(bottom, mean, variance), tolerance=1e-8)
        sums = [fraction * old + new for old, new in zip(sums, (mean, unbiased, 1.0), strict=True)]
    for blob, expected in zip(layer.blobs, sums, strict=True):
        close(blob, expected, tolerance=1e-10)


@gradients.few
@given(shape=shapes)
def test_test_phase_uses_the_sums_and_keeps_them(shape: tuple[int, ...]) -> None:
    layer = fresh(shape, phase="TEST")
    channels = shape[1] if len(shape) > 1 else 1
    random = np.random.RandomState(2)
    blobs = [random.randn(channels), random.rand(channels) + 0.5, np.array([1.7])]
    for blob, values in zip(layer.blobs, blobs, strict=True):
        blob.data.copy_(torch.from_numpy(values))
    bottom = random.randn(*shape)
    expected = normalized(bottom, blobs[0] / 1.7, blobs[1] / 1.7)
    close(layer(torch.from_numpy(bottom)), expected, tolerance=1e-10)
    for blob, values in zip(layer.blobs, blobs, strict=True):
        assert np.array_equal(blob.detach().numpy(), values)


def test_statistics_of_a_net_that_never_trained_are_zero() -> None:
    bottom = np.random.RandomState(0).randn(2, 3, 4, 4)
    layer = fresh(bottom.shape, phase="TEST")
    close(layer(torch.from_numpy(bottom)), bottom / np.sqrt(EPS), tolerance=1e-12)


PHASES = [
    ("TRAIN", "", True),
    ("TEST", "", False),
    ("TRAIN", "use_global_stats: true", False),
    ("TEST", "use_global_stats: false", True),
]


@pytest.mark.parametrize(("phase", "body", "from_batch"), PHASES)
def test_use_global_stats_outweighs_the_phase(phase: str, body: str, from_batch: bool) -> None:
    layer = fresh((4, 2, 3, 3), body, phase)
    with torch.no_grad():
        layer(torch.randn(4, 2, 3, 3, dtype=torch.float64))
    assert layer.blobs[2].item() == float(from_batch)


@pytest.mark.parametrize("phase", ["TRAIN", "TEST"])
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("shape", [(5, 3, 4, 4), (5, 3), (6,), (1, 3)])
def test_the_affine_in_one_call_is_the_affine_afterwards(shape: tuple[int, ...], with_bias: bool, phase: str) -> None:
    alone, together = fresh(shape, phase=phase), fresh(shape, phase=phase)
    for layer in (alone, together):
        for blob in layer.blobs:
            blob.data.fill_(0.7)
    channels = shape[1] if len(shape) > 1 else 1
    weight = torch.randn(channels, dtype=torch.float64)
    bias = torch.randn(channels, dtype=torch.float64) if with_bias else None
    bottom = torch.randn(shape, dtype=torch.float64)
    view = (-1, *[1] * max(0, len(shape) - 2))
    expected = alone(bottom) * weight.reshape(view)
    expected = expected if bias is None else expected + bias.reshape(view)
    close(together.normalize(bottom, weight, bias), expected.numpy(), tolerance=1e-12)
    for one, other in zip(alone.blobs, together.blobs, strict=True):
        assert torch.equal(one, other)


def test_the_top_stays_channels_last() -> None:
    layer = build(one_layer("BatchNorm"), [(4, 8, 5, 5)])
    bottom = torch.randn(4, 8, 5, 5).contiguous(memory_format=torch.channels_last)
    assert layer(bottom).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("shape", [(64, 3, 32, 32), (64, 16, 32, 32), (5, 7, 31, 29), (2, 300, 64, 64)])
def test_the_statistics_of_many_values_lose_no_digits(shape: tuple[int, ...]) -> None:
    """torch's batch norm adds 10^5 values up one by one in float32, and is off by 5e-6."""
    layer = build(one_layer("BatchNorm"), [shape])
    bottom = 30 + torch.randn(shape, generator=torch.Generator().manual_seed(1))
    layer(bottom.contiguous(memory_format=torch.channels_last))
    rows = by_channel(bottom.double().numpy())
    close(layer.blobs[0], rows.mean(1), tolerance=7e-7)
    close(layer.blobs[1], rows.var(1, ddof=1), tolerance=2e-6)


@pytest.mark.parametrize(("value", "shape"), [(0.1, (64, 3, 8, 8)), (0.1, (64, 16, 32, 32)), (1000.3, (64, 3, 8, 8))])
def test_a_channel_of_one_value_has_its_mean_and_hardly_a_variance(value: float, shape: tuple[int, ...]) -> None:
    layer = build(one_layer("BatchNorm"), [shape])
    top = layer(torch.full(shape, value).contiguous(memory_format=torch.channels_last))
    close(layer.blobs[0], np.full(shape[1], np.float32(value)), tolerance=5e-6)
    assert layer.blobs[1].max() < 3e-11 * value**2
    assert top.abs().max() < 5e-6 * value / EPS**0.5


def test_rectify_leaves_a_gradient_alone_that_is_differentiated_again() -> None:
    torch.manual_seed(4)
    bottom = torch.randn(4, 2, 20, 20, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    seed, direction = torch.randn(2, 4, 2, 20, 20, dtype=torch.float64).unbind()
    results = []
    for exact in (False, True):
        x, weight, kept = bottom.clone().requires_grad_(), torch.tensor([1.5, -0.5]).double(), seed.clone()
        if exact:
            top = F.batch_norm(x, None, None, weight, training=True, eps=EPS).relu()
        else:
            top, _, _ = normalize_batch(x, weight, None, EPS, rectify=True)
        (first,) = torch.autograd.grad(top, x, kept, create_graph=True)
        (second,) = torch.autograd.grad(first, x, direction)
        assert torch.equal(kept, seed)
        results.append((first, second))
    for ours, theirs in zip(*results, strict=True):
        close(ours, theirs.detach().numpy(), tolerance=1e-10)


def test_tracing_leaves_nothing_behind() -> None:
    shape = (2, 3, 16, 16)
    bottom = torch.randn(shape).contiguous(memory_format=torch.channels_last)
    eps = 0.8765  # one that no other test has made a constant of
    traced, layer = (build(one_layer("BatchNorm", f"batch_norm_param {{ eps: {eps} }}"), [shape]) for _ in "ab")
    torch.export.export(traced, (bottom,), strict=False)
    layer(bottom)
    close(layer.blobs[1], by_channel(bottom.double().numpy()).var(1, ddof=1), tolerance=1e-6)
    assert layer.blobs[2].item() == 1


def test_two_passes_before_one_backward() -> None:
    """Each pass is differentiated as if alone, though both have changed the blobs by then."""
    layer = fresh((4, 2, 3, 3))
    first, second = (torch.randn(4, 2, 3, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    weight = torch.randn(4, 2, 3, 3, dtype=torch.float64)
    ((layer(first) + layer(second)) * weight).sum().backward()
    for bottom in (first, second):
        alone = bottom.detach().requires_grad_()
        (F.batch_norm(alone, None, None, training=True, eps=EPS) * weight).sum().backward()
        close(bottom.grad, alone.grad.numpy(), tolerance=1e-10)


def test_blobs_given_after_a_batch_of_nan_are_clean_again() -> None:
    layer = fresh((4, 2, 3, 3))
    layer(torch.full((4, 2, 3, 3), torch.nan, dtype=torch.float64))
    for blob in layer.blobs:
        blob.data.zero_()
    layer(torch.randn(4, 2, 3, 3, dtype=torch.float64))
    assert all(bool(blob.isfinite().all()) for blob in layer.blobs)


def test_blobs_are_not_learned() -> None:
    layer = build(one_layer("BatchNorm"), [(4, 2, 3, 3)])
    assert [tuple(blob.shape) for blob in layer.blobs] == [(2,), (2,), (1,)]
    assert not any(blob.requires_grad for blob in layer.blobs)


def test_a_learning_rate_for_statistics_is_refused() -> None:
    body = "param { lr_mult: 0 } param { lr_mult: 1 }"
    with pytest.raises(LayerError, match="param 1 has lr_mult 1"):
        build(one_layer("BatchNorm", body), [(4, 2)])
    frozen = "param { lr_mult: 0 } param { lr_mult: 0 } param { lr_mult: 0 }"
    assert build(one_layer("BatchNorm", frozen), [(4, 2)]).top_shapes == [(4, 2)]


def test_a_bottom_without_axes_is_refused() -> None:
    with pytest.raises(LayerError, match="at least one axis"):
        build(one_layer("BatchNorm"), [()])
