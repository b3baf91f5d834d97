"""DepthwiseConvolution, Normalize, Permute, Interp, Upsample, ReLU6, Axpy, ShuffleChannel, ROIPooling against numpy."""

from __future__ import annotations

import fork_reference as reference
import numpy as np
import pytest
import torch
from fork_layers import fill, gradients_agree, make, run, values
from hypothesis import given, settings
from hypothesis import strategies as st

few = settings(derandomize=True, deadline=None, max_examples=12, database=None)
TIGHT = {"rtol": 1e-10, "atol": 1e-12}


@few
@given(
    st.sampled_from(["DepthwiseConvolution", "ConvolutionDepthwise"]),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(0, 2),
    st.integers(1, 2),
)
def test_depthwise_convolution(type_name, kernel, stride, pad, dilation):
    body = f"num_output: 3 kernel_size: {kernel} stride: {stride} pad: {pad} dilation: {dilation}"
    x, weight, bias = values(2, 3, 6, 5), values(3, 1, kernel, kernel, seed=1), values(3, seed=2)
    layer = fill(make(type_name, f"convolution_param {{ {body} }}", [x.shape]), weight, bias)
    assert np.allclose(run(layer, x), reference.depthwise(x, weight, bias, stride, pad, dilation), **TIGHT)
    assert gradients_agree(layer, x)


def test_several_kernels_a_channel():
    x, weight, bias = values(1, 2, 4, 4), values(6, 1, 3, 3, seed=1), np.zeros(6)
    body = "convolution_param { num_output: 6 group: 2 kernel_size: 3 }"
    layer = fill(make("DepthwiseConvolution", body, [x.shape]), weight, bias)
    assert np.allclose(run(layer, x), reference.depthwise(x, weight, bias), **TIGHT)


def test_the_shufflenet_fork_does_not_look_at_num_output():
    layer = make("ConvolutionDepthwise", "convolution_param { num_output: 99 kernel_size: 1 }", [(1, 4, 2, 2)])
    assert layer.top_shapes == [(1, 4, 2, 2)]


@pytest.mark.parametrize("across", [True, False])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 3), (2, 3, 4)])
def test_normalize(across, shared, shape):
    body = f"norm_param {{ across_spatial: {across} channel_shared: {shared} eps: 0.01 }}".replace("T", "t")
    x, scale = values(*shape), np.array(1.5) if shared else values(3, seed=1)
    layer = make("Normalize", body.replace("F", "f"), [shape])
    assert [tuple(blob.shape) for blob in layer.blobs] == [() if shared else (3,)]
    assert all((blob == 1).all() for blob in layer.blobs)
    fill(layer, scale)
    top = run(layer, x) / np.reshape(scale, (1, -1, *[1] * (len(shape) - 2)))
    lengths = np.linalg.norm(top.reshape(*shape[:2], -1), axis=(1, 2) if across else 1)
    assert np.allclose(lengths, 1, atol=0.01)  # eps takes a little
    fill(layer, np.full(np.shape(scale), 1.5))  # of unlike scales the gradient is the fork's, not the true one
    assert gradients_agree(layer, x)


def test_normalize_defaults_and_filler():
    body = 'norm_param { across_spatial: false scale_filler { type: "constant" value: 20 } channel_shared: false }'
    layer = make("Normalize", body, [(1, 4, 2, 2)])
    assert layer.blobs[0].tolist() == [20.0] * 4
    assert layer.eps == np.float32(1e-10)


@pytest.mark.parametrize(
    ("order", "whole"), [((0, 2, 3, 1), (0, 2, 3, 1)), ((3,), (3, 0, 1, 2)), ((), (0, 1, 2, 3)), ((2, 0), (2, 0, 1, 3))]
)
def test_permute(order, whole):
    x = values(2, 3, 4, 5)
    layer = make("Permute", f"permute_param {{ {' '.join(f'order: {axis}' for axis in order)} }}", [x.shape])
    assert np.array_equal(run(layer, x), x.transpose(whole))
    assert gradients_agree(layer, x[:1, :2, :2, :2])


SIZES = [
    ("height: 7 width: 9", 7, 9, 0, 0),
    ("height: 1 width: 2", 1, 2, 0, 0),
    ("zoom_factor: 3", 13, 16, 0, 0),
    ("shrink_factor: 2", 3, 3, 0, 0),
    ("height: 5 width: 6", 5, 6, 0, 0),
    ("height: 8 width: 8 pad_beg: -1 pad_end: -2", 8, 8, -1, -2),
    ("zoom_factor: 2 pad_end: -1", 7, 9, 0, -1),
]


@pytest.mark.parametrize(("body", "height", "width", "beg", "end"), SIZES)
@pytest.mark.parametrize("nearest", [False, True])
def test_interp(body, height, width, beg, end, nearest):
    x = values(2, 2, 5, 6)
    kind = 'interp_type: "nearest_neighbor"' if nearest else ""
    layer = make("Interp", f"interp_param {{ {body} {kind} }}", [x.shape])
    assert layer.top_shapes == [(2, 2, height, width)]
    assert np.allclose(run(layer, x), reference.interpolated(x, height, width, beg, end, nearest), **TIGHT)
    assert gradients_agree(layer, x[:1, :1])


def test_interp_to_the_size_of_another_blob():
    x, like = values(1, 2, 3, 3), values(1, 7, 5, 4)
    layer = make("Interp", "", [x.shape, like.shape])
    assert np.allclose(run(layer, x, like), reference.interpolated(x, 5, 4), **TIGHT)
    assert gradients_agree(layer, x, like)


def mask_of(n, c, h, w, size):
    """Places of the maxima of a non-overlapping pooling: all of a channel differ."""
    random = np.random.RandomState(3)
    return np.array([random.permutation(size)[: h * w] for _ in range(n * c)], np.float64).reshape(n, c, h, w)


@pytest.mark.parametrize(
    ("body", "height", "width"),
    [
        ("", 4, 6),
        ("upsample_param { scale: 2 }", 4, 6),
        ("upsample_param { scale: 3 }", 6, 9),
        ("upsample_param { scale_h: 2 scale_w: 3 }", 4, 9),
        ("upsample_param { scale: 2 pad_out_h: true pad_out_w: true }", 3, 5),
        ("upsample_param { scale: 2 upsample_h: 5 upsample_w: 5 }", 5, 5),
    ],
)
def test_upsample_by_a_mask(body, height, width):
    x, mask = values(2, 2, 2, 3), mask_of(2, 2, 2, 3, height * width)
    layer = make("Upsample", body, [x.shape, mask.shape])
    assert layer.top_shapes == [(2, 2, height, width)]
    assert np.array_equal(run(layer, x, mask), reference.unpooled(x, mask, height, width))
    assert gradients_agree(layer, x, mask)


def test_upsample_of_values_with_one_place():
    """The last counts; each gets the gradient of the place, as in SegNet."""
    x, mask = values(1, 1, 1, 4), np.array([5, 0, 5, 5.0]).reshape(1, 1, 1, 4)
    layer = make("Upsample", "upsample_param { upsample_h: 2 upsample_w: 4 }", [x.shape, mask.shape])
    bottom = torch.tensor(x, requires_grad=True)
    top = layer(bottom, torch.tensor(mask))
    assert np.array_equal(top.detach().numpy(), reference.unpooled(x, mask, 2, 4))
    (gradient,) = torch.autograd.grad(top, bottom, torch.arange(8.0, dtype=torch.float64).reshape(1, 1, 2, 4))
    assert gradient.flatten().tolist() == [5, 0, 5, 5]


@pytest.mark.parametrize("scale", [None, 1, 2, 3, 7])
def test_upsample_by_repeating(scale):
    x = values(2, 3, 2, 3)
    layer = make("Upsample", f"upsample_param {{ scale: {scale} }}" if scale else "", [x.shape])
    assert np.array_equal(run(layer, x), np.kron(x, np.ones((1, 1, scale or 1, scale or 1))))
    assert gradients_agree(layer, x)


@pytest.mark.parametrize("slope", [0, 0.25])
def test_relu6(slope):
    x = 5 * values(2, 3, 4)
    layer = make("ReLU6", f"relu6_param {{ negative_slope: {slope} }}", [x.shape])
    assert np.allclose(run(layer, x), np.minimum(np.maximum(x, 0) + slope * np.minimum(x, 0), 6), **TIGHT)
    assert (run(layer, x) == 6).any()
    assert gradients_agree(layer, x)


def test_relu6_at_its_kinks():
    for body, at_zero in (("", 0), ("relu6_param { negative_slope: 0.5 }", 0.5)):
        bottom = torch.tensor([0.0, 6.0, 7.0, 3.0], dtype=torch.float64, requires_grad=True)
        make("ReLU6", body, [(4,)])(bottom).sum().backward()
        assert bottom.grad.tolist() == [at_zero, 0, 0, 1]


@pytest.mark.parametrize("scale_shape", [(2, 3), (2, 3, 1, 1)])
def test_axpy(scale_shape):
    a, x, y = values(*scale_shape), values(2, 3, 2, 4, seed=1), values(2, 3, 2, 4, seed=2)
    layer = make("Axpy", "", [a.shape, x.shape, y.shape])
    assert np.allclose(run(layer, a, x, y), a.reshape(2, 3, 1, 1) * x + y, **TIGHT)
    assert gradients_agree(layer, a, x, y)


@pytest.mark.parametrize("group", [1, 2, 3, 6])
def test_shuffle_channel(group):
    x = values(2, 6, 2, 3)
    layer = make("ShuffleChannel", f"shuffle_channel_param {{ group: {group} }}", [x.shape])
    assert np.array_equal(run(layer, x), reference.shuffled(x, group))
    assert gradients_agree(layer, x)


REGIONS = np.array(
    [
        [0, 0, 0, 7, 5],
        [1, 2, 1, 4, 4],
        [1, 3, 3, 3, 3],  # one pixel
        [0, 5, 4, 2, 1],  # malformed: one pixel
        [0, -3, -2, 20, 9],  # beyond the image
        [1, 12, 9, 14, 11],  # off the image: zeros
        [0, 1.5, 0.5, 5.5, 3.5],  # halves are rounded up
    ],
    dtype=np.float64,
)


@pytest.mark.parametrize(("pooled_h", "pooled_w", "scale"), [(2, 2, 1.0), (3, 4, 1.0), (7, 7, 0.5), (1, 3, 0.0625)])
def test_roi_pooling(pooled_h, pooled_w, scale):
    x, regions = values(2, 2, 6, 8), REGIONS.copy()
    regions[:, 1:] /= scale
    body = f"roi_pooling_param {{ pooled_h: {pooled_h} pooled_w: {pooled_w} spatial_scale: {scale} }}"
    layer = make("ROIPooling", body, [x.shape, regions.shape])
    expected = reference.roi_pooled(x, regions, pooled_h, pooled_w, scale)
    assert np.allclose(run(layer, x, regions), expected, **TIGHT)
    layer = make("ROIPooling", body, [x.shape, (len(regions), 5, 1, 1)])
    assert np.allclose(run(layer, x, regions.reshape(-1, 5, 1, 1)), expected, **TIGHT)
    assert gradients_agree(layer, x, regions)
