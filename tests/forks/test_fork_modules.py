"""Fork layers as PyTorch modules and ONNX models, with their options, against float64 numpy."""

from __future__ import annotations

import fork_reference as reference
import numpy as np
import pytest
from fork_layers import values
from fork_written import agree_everywhere

IMAGE = values(2, 6, 5, 7)


@pytest.mark.parametrize("group", [1, 2, 3])
def test_shuffle_channel(group, tmp_path, monkeypatch):
    body = f'type: "ShuffleChannel" shuffle_channel_param {{ group: {group} }}'
    agree_everywhere(tmp_path, monkeypatch, body, [IMAGE], reference.shuffled(IMAGE, group))


@pytest.mark.parametrize("trailing", [(), (1, 1)])
def test_axpy(trailing, tmp_path, monkeypatch):
    scale, other = values(2, 6), values(2, 6, 5, 7)
    arrays = [scale.reshape(2, 6, *trailing), IMAGE, other]
    agree_everywhere(tmp_path, monkeypatch, 'type: "Axpy"', arrays, scale[:, :, None, None] * IMAGE + other)


@pytest.mark.parametrize("nearest", [False, True])
@pytest.mark.parametrize(
    ("fields", "size", "cut"),
    [
        ("zoom_factor: 3", (13, 19), (0, 0)),
        ("shrink_factor: 2", (3, 4), (0, 0)),
        ("height: 4 width: 9", (4, 9), (0, 0)),
        ("zoom_factor: 2 pad_beg: -1 pad_end: -2", (3, 7), (-1, -2)),
        ("height: 1 width: 6 pad_end: -1", (1, 6), (0, -1)),
    ],
)
def test_interp(fields, size, cut, nearest, tmp_path, monkeypatch):
    kind = 'interp_type: "nearest_neighbor"' if nearest else ""
    want = reference.interpolated(IMAGE, *size, *cut, nearest)
    body = f'type: "Interp" interp_param {{ {fields} {kind} }}'
    agree_everywhere(tmp_path, monkeypatch, body, [IMAGE], want)


def normed(x, mean, variance, eps, weight, bias, axis=1):
    channels = [1] * x.ndim
    channels[axis] = -1
    mean, variance, weight, bias = (np.reshape(v, channels) for v in (mean, variance, weight, bias))
    return (x - mean) / np.sqrt(variance + eps) * weight + bias


def numbers(seed, channels):
    random = np.random.default_rng(seed)
    weight, bias, mean = random.uniform(-2, 2, (3, channels))
    return weight, bias, mean, random.uniform(0.2, 3, channels)


@pytest.mark.parametrize(
    ("kind", "fields", "eps", "dims"),
    [
        ("BN", "bn_param { moving_average: true var_eps: 0.01 }", 0.01, 4),
        ("BN", "bn_param { frozen: true }", 1e-5, 4),
        ("BN", "bn_param { momentum: 0.5 eps: 0.1 }", 0.1, 2),
        ("BN", "bn_param { icnet: true eps: 0.2 }", 0.2, 4),
        ("CuDNNBatchNorm", "cudnn_batch_norm_param { frozen: true eps: 0.02 }", 0.02, 3),
    ],
)
def test_norms_with_running_statistics(kind, fields, eps, dims, tmp_path, monkeypatch):
    x = values(2, 6, 5, 7)[(slice(None), slice(None), *[0] * (4 - dims))]
    weight, bias, mean, variance = numbers(1, 6)
    want = normed(x, mean, variance, eps, weight, bias)
    agree_everywhere(tmp_path, monkeypatch, f'type: "{kind}" {fields}', [x], want, [weight, bias, mean, variance])


@pytest.mark.parametrize("axis", [1, 2])
def test_a_bn_by_the_batch_in_the_test_phase(axis, tmp_path, monkeypatch):
    weight, bias, mean, variance = numbers(2, IMAGE.shape[axis])
    axes = tuple({0, 1, 2, 3} - {axis})
    want = normed(IMAGE, IMAGE.mean(axes), IMAGE.var(axes), 0.01, weight, bias, axis)
    body = f'type: "BN" bn_param {{ var_eps: 0.01 axis: {axis} }}'
    agree_everywhere(tmp_path, monkeypatch, body, [IMAGE], want, [weight, bias, mean, variance])


@pytest.mark.parametrize("mode", ["LEARN", "INFERENCE"])
def test_segnets_bn(mode, tmp_path, monkeypatch):
    weight, bias, _, _ = numbers(3, 6)
    of_batch = (IMAGE.mean((0, 2, 3)), IMAGE.var((0, 2, 3)), 1e-9)
    want = normed(IMAGE, *(of_batch if mode == "LEARN" else (np.zeros(6), np.ones(6), 0)), weight, bias)
    agree_everywhere(tmp_path, monkeypatch, f'type: "BN" bn_param {{ bn_mode: {mode} }}', [IMAGE], want, [weight, bias])


@pytest.mark.parametrize("dims", [1, 2, 4])
def test_nvidias_batch_norm(dims, tmp_path, monkeypatch):
    x = IMAGE[0, :, 0, 0] if dims == 1 else IMAGE[(slice(None), slice(None), *[0] * (4 - dims))]
    channels = 1 if dims == 1 else 6
    weight, bias, mean, variance = numbers(4, channels)
    want = normed(x, mean, variance, 0.03, weight, bias, 0 if dims == 1 else 1)
    body = 'type: "BatchNorm" batch_norm_param { scale_bias: true eps: 0.03 }'
    agree_everywhere(tmp_path, monkeypatch, body, [x], want, [mean, variance, np.ones(1), weight, bias])


def test_upsample_repeats_pixels(tmp_path, monkeypatch):
    body = 'type: "Upsample" upsample_param { scale: 3 }'
    agree_everywhere(tmp_path, monkeypatch, body, [IMAGE], IMAGE.repeat(3, 2).repeat(3, 3))


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ("", (6, 8)),
        ("scale: 3", (9, 12)),
        ("scale_h: 2 scale_w: 3", (6, 12)),
        ("pad_out_h: true pad_out_w: true", (5, 7)),
        ("scale: 2 pad_out_w: true", (6, 7)),
        ("upsample_h: 11 upsample_w: 5", (11, 5)),
    ],
)
def test_upsample_by_mask(fields, size, tmp_path, monkeypatch):
    x = values(2, 3, 3, 4)
    random = np.random.default_rng(5)
    mask = random.integers(0, size[0] * size[1], x.shape)  # with values that share a place, of which the last counts
    mask[0, 0, 0, :2] = 2
    want = reference.unpooled(x, mask, *size)
    body = f'type: "Upsample" upsample_param {{ {fields} }}'
    agree_everywhere(tmp_path, monkeypatch, body, [x, mask], want)


def pooled(x, kernel, stride, pad):
    """MAX pooling with Caffe's number of windows, and the place of each maximum: the first of several."""
    counts = [-(-(size + 2 * pad - kernel) // stride) + 1 for size in x.shape[2:]]
    counts = [n - ((n - 1) * stride >= size + pad) if pad else n for n, size in zip(counts, x.shape[2:], strict=True)]
    top = np.empty((*x.shape[:2], *counts))
    mask = np.empty(top.shape, int)
    for i, c, row, column in np.ndindex(*top.shape):
        rows = range(max(0, row * stride - pad), min(x.shape[2], row * stride - pad + kernel))
        columns = range(max(0, column * stride - pad), min(x.shape[3], column * stride - pad + kernel))
        value, place = max((x[i, c, a, b], -(a * x.shape[3] + b)) for a in rows for b in columns)
        top[i, c, row, column], mask[i, c, row, column] = value, -place
    return top, mask


@pytest.mark.parametrize(("kernel", "stride", "pad"), [(2, 2, 0), (3, 2, 0), (3, 2, 1), (3, 3, 2)])
@pytest.mark.parametrize("size", [(8, 12), (9, 11)])
def test_pairs_of_pooling_and_upsample(size, kernel, stride, pad, tmp_path, monkeypatch):
    x = values(2, 3, *size)
    first, mask1 = pooled(x, kernel, stride, pad)
    second, mask2 = pooled(first, kernel, stride, pad)
    inner = reference.unpooled(-second, mask2, *first.shape[2:])
    want = reference.unpooled(inner, mask1, *size)
    window = f"pooling_param {{ pool: MAX kernel_size: {kernel} stride: {stride} pad: {pad} }}"
    sizes = [f"upsample_param {{ upsample_h: {h} upsample_w: {w} }}" for h, w in (first.shape[2:], size)]
    body = (
        f'type: "Pooling" top: "m1" {window} }}\n'
        f'layer {{ name: "p2" type: "Pooling" bottom: "x" top: "p2" top: "m2" {window} }}\n'
        'layer { name: "minus" type: "Power" bottom: "p2" top: "minus" power_param { scale: -1 } }\n'
        f'layer {{ name: "u2" type: "Upsample" bottom: "minus" bottom: "m2" top: "u2" {sizes[0]} }}\n'
        f'layer {{ name: "u1" type: "Upsample" bottom: "u2" bottom: "m1" top: "y" {sizes[1]}'
    )
    agree_everywhere(tmp_path, monkeypatch, body, [x], want, top="y")
