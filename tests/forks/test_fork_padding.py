"""Synopsys' words for windows: ceil_mode, pads of four sides, SAME, AVE_EXC_PAD. Against numpy in float64.

The numpy is written from the fork's source (synopsys-caffe@977ba36): it walks over windows and asks of every place
whether it is in the image, in its padding or beyond.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from fork_layers import fill, gradients_agree, make, net_param, run, values
from fork_written import agree_everywhere
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sdcaffe.errors import LayerError

few = settings(derandomize=True, deadline=None, max_examples=25, database=None)
TIGHT = {"rtol": 1e-10, "atol": 1e-12}


def count(size, kernel, stride, before, behind, *, up):
    """How many windows an axis has; None where the fork gives up."""
    found = (math.ceil if up else math.floor)((size + before + behind - kernel) / stride) + 1
    if (before or behind) and (found - 1) * stride >= size + before:
        found -= 1
    return found if found >= 1 and (found - 1) * stride < size + before else None


def pooled(x, method, kernel, stride, before, behind, counts):
    top = np.empty((*x.shape[:2], *counts))
    for n, c, i, j in np.ndindex(*top.shape):
        inside, area = [], 0
        for di, dj in np.ndindex(*kernel):
            row, column = i * stride[0] - before[0] + di, j * stride[1] - before[1] + dj
            if row < x.shape[2] + behind[0] and column < x.shape[3] + behind[1]:
                area += 1
                if 0 <= row < x.shape[2] and 0 <= column < x.shape[3]:
                    inside.append(x[n, c, row, column])
        top[n, c, i, j] = {
            "MAX": max(inside), "AVE": sum(inside) / area, "AVE_EXC_PAD": sum(inside) / len(inside)
        }[method]  # fmt: skip
    return top


def sides(before, behind):
    return f"pad_t: {before[0]} pad_b: {behind[0]} pad_l: {before[1]} pad_r: {behind[1]}"


two = st.tuples(st.integers(1, 3), st.integers(1, 3))
pads = st.tuples(st.integers(0, 2), st.integers(0, 2))


@pytest.mark.parametrize("method", ["MAX", "AVE", "AVE_EXC_PAD"])
@few
@given(st.tuples(st.integers(3, 7), st.integers(3, 7)), two, two, pads, pads, st.booleans())
def test_pooling(method, size, kernel, stride, before, behind, up):
    before = tuple(min(p, k - 1) for p, k in zip(before, kernel, strict=True))
    counts = [
        count(*each, up=up) for each in zip(size, kernel, stride, before, behind, strict=True)
    ]  # fmt: skip
    assume(None not in counts)
    assume(any((*before, *behind)) or all(s <= k for s, k in zip(stride, kernel, strict=True)))
    x = values(2, 2, *size)
    body = f"kernel_h: {kernel[0]} kernel_w: {kernel[1]} stride_h: {stride[0]} stride_w: {stride[1]}"
    body += f" pool: {method} ceil_mode: {str(up).lower()} {sides(before, behind)}"
    layer = make("Pooling", f"pooling_param {{ {body} }}", [x.shape])
    assert np.allclose(run(layer, x), pooled(x, method, kernel, stride, before, behind, counts), **TIGHT)
    assert gradients_agree(layer, x[:1, :1])


@pytest.mark.parametrize("method", ["MAX", "AVE", "AVE_EXC_PAD"])
@pytest.mark.parametrize(("size", "kernel", "stride"), [((5, 6), 3, 2), ((7, 4), 2, 2), ((5, 5), 1, 3), ((6, 7), 4, 1)])
def test_pooling_of_type_same(method, size, kernel, stride):
    counts = [math.ceil(n / stride) for n in size]
    totals = [max(kernel - (n % stride or stride), 0) for n in size]
    before = [total // 2 for total in totals]
    behind = [total - b for total, b in zip(totals, before, strict=True)]
    x = values(2, 2, *size)
    layer = make(
        "Pooling", f"pooling_param {{ pool: {method} kernel_size: {kernel} stride: {stride} pad_type: 1 }}", [x.shape]
    )
    want = pooled(x, method, (kernel,) * 2, (stride,) * 2, before, behind, counts)
    assert np.allclose(run(layer, x), want, **TIGHT)
    assert gradients_agree(layer, x[:1, :1])


def test_the_mask_counts_places_in_the_image():
    x = values(1, 1, 4, 5)
    layer = make("Pooling", "pooling_param { kernel_size: 3 stride: 2 pad_t: 1 pad_r: 2 }", [x.shape], tops=2)
    top, mask = run(layer, x)
    assert np.array_equal(x.reshape(-1)[mask.astype(int)], top)


def test_ave_tf_is_the_same_method():
    x = values(1, 2, 4, 4)
    layers = [make("Pooling", f"pooling_param {{ pool: {name} kernel_size: 3 pad: 1 }}", [x.shape])
              for name in ("AVE_TF", "AVE_EXC_PAD")]  # fmt: skip
    assert np.array_equal(run(layers[0], x), run(layers[1], x))


def convolved(x, weight, stride, before, dilation, counts):
    top = np.zeros((x.shape[0], weight.shape[0], *counts))
    for n, o, i, j, c, di, dj in np.ndindex(*top.shape, *weight.shape[1:]):
        row, column = i * stride - before[0] + di * dilation, j * stride - before[1] + dj * dilation
        if 0 <= row < x.shape[2] and 0 <= column < x.shape[3]:
            top[n, o, i, j] += x[n, c, row, column] * weight[o, c, di, dj]
    return top


@few
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 2), pads, pads)
def test_convolution(kernel, stride, dilation, before, behind):
    x, weight, bias = values(2, 2, 6, 5), values(3, 2, kernel, kernel, seed=1), values(3, seed=2)
    extent = dilation * (kernel - 1) + 1
    counts = [(n + b + e - extent) // stride + 1 for n, b, e in zip((6, 5), before, behind, strict=True)]
    assume(min(counts) >= 1)
    body = f"num_output: 3 kernel_size: {kernel} stride: {stride} dilation: {dilation} {sides(before, behind)}"
    layer = fill(make("Convolution", f"convolution_param {{ {body} }}", [x.shape]), weight, bias)
    assert np.allclose(
        run(layer, x), convolved(x, weight, stride, before, dilation, counts) + bias[:, None, None], **TIGHT
    )
    assert gradients_agree(layer, x[:1])


@pytest.mark.parametrize("type_name", ["Convolution", "ConvolutionDepthwise"])
@pytest.mark.parametrize(("size", "kernel", "stride", "dilation"), [
    ((5, 6), 3, 2, 1), ((7, 5), 4, 1, 1), ((6, 5), 2, 3, 1), ((6, 7), 3, 1, 2),
])  # fmt: skip
def test_convolution_of_type_same(type_name, size, kernel, stride, dilation):
    x, each = values(1, 2, *size), values(2, kernel, kernel, seed=1)
    totals = [max(kernel - (n % stride or stride), 0) for n in size]
    weight = np.zeros((2, 2, kernel, kernel))
    weight[[0, 1], [0, 1]] = each
    body = f"num_output: 2 kernel_size: {kernel} stride: {stride} dilation: {dilation} pad_type: 1 bias_term: false"
    layer = make(type_name, f"convolution_param {{ {body} }}", [x.shape])
    fill(layer, each if type_name == "ConvolutionDepthwise" else weight)
    counts = [math.ceil(n / stride) for n in size]
    want = convolved(x, weight, stride, [total // 2 for total in totals], dilation, counts)
    assert np.allclose(run(layer, x), want, **TIGHT)
    assert gradients_agree(layer, x)


@few
@given(st.integers(1, 3), st.integers(1, 3), st.tuples(st.integers(-1, 2), st.integers(-1, 2)),
       st.tuples(st.integers(-1, 2), st.integers(-1, 2)))  # fmt: skip
def test_deconvolution(kernel, stride, before, behind):
    x, weight, bias = values(1, 2, 3, 4), values(2, 3, kernel, kernel, seed=1), values(3, seed=2)
    sizes = [stride * (n - 1) + kernel - b - e for n, b, e in zip((3, 4), before, behind, strict=True)]
    assume(min(sizes) >= 1)
    want = np.zeros((1, 3, *sizes)) + bias[:, None, None]
    for c, o, i, j, di, dj in np.ndindex(2, 3, 3, 4, kernel, kernel):
        row, column = i * stride - before[0] + di, j * stride - before[1] + dj
        if 0 <= row < sizes[0] and 0 <= column < sizes[1]:
            want[0, o, row, column] += x[0, c, i, j] * weight[c, o, di, dj]
    body = f"num_output: 3 kernel_size: {kernel} stride: {stride} {sides(before, behind)}"
    layer = fill(make("Deconvolution", f"convolution_param {{ {body} }}", [x.shape]), weight, bias)
    assert np.allclose(run(layer, x), want, **TIGHT)
    assert gradients_agree(layer, x)


def test_depthwise_convolution_takes_sides_too():
    x, weight = values(1, 2, 4, 4), values(2, 1, 3, 3, seed=1)
    body = "convolution_param { num_output: 2 kernel_size: 3 pad_t: 1 pad_l: 2 bias_term: false }"
    full = np.zeros((2, 2, 3, 3))
    full[[0, 1], [0, 1]] = weight[:, 0]
    for type_name in ("DepthwiseConvolution", "ConvolutionDepthwise"):
        layer = fill(make(type_name, body, [x.shape]), weight)
        assert np.allclose(run(layer, x), convolved(x, full, 1, (1, 2), 1, (3, 4)), **TIGHT)


X = values(2, 3, 7, 6)
POOLED = [
    ("pool: MAX kernel_size: 3 stride: 2 ceil_mode: false", "MAX", (0, 0), (0, 0), (3, 2)),
    ("pool: MAX kernel_size: 3 stride: 2 pad_t: 1 pad_r: 1", "MAX", (1, 0), (0, 1), (4, 3)),
    ("pool: AVE kernel_size: 3 stride: 2 pad_t: 1 pad_l: 2", "AVE", (1, 2), (0, 0), (4, 4)),
    ("pool: AVE_EXC_PAD kernel_size: 3 stride: 2 pad: 1", "AVE_EXC_PAD", (1, 1), (1, 1), (4, 4)),
    ("pool: AVE_EXC_PAD kernel_size: 3 stride: 2 pad_l: 1 pad_b: 1", "AVE_EXC_PAD", (0, 1), (1, 0), (4, 3)),
    ("pool: AVE_EXC_PAD kernel_size: 3 stride: 2 pad_type: 1", "AVE_EXC_PAD", (1, 0), (1, 1), (4, 3)),
    ("pool: MAX kernel_size: 3 stride: 2 pad_type: 1", "MAX", (1, 0), (1, 1), (4, 3)),
]


@pytest.mark.parametrize(("body", "method", "before", "behind", "counts"), POOLED)
def test_pooling_in_every_form(tmp_path, monkeypatch, body, method, before, behind, counts):
    want = pooled(X, method, (3, 3), (2, 2), before, behind, counts)
    agree_everywhere(tmp_path, monkeypatch, f'type: "Pooling" pooling_param {{ {body} }}', [X], want)


@pytest.mark.parametrize(
    ("body", "before", "counts"),
    [
        ("stride: 2 pad_r: 1 pad_b: 1", (0, 0), (3, 3)),
        ("stride: 2 pad_l: 2 pad_t: 1 pad_b: 0", (1, 2), (3, 3)),
        ("stride: 2 pad_type: 1", (1, 0), (4, 3)),
    ],
)
def test_convolution_in_every_form(tmp_path, monkeypatch, body, before, counts):
    weight, bias = values(4, 3, 3, 3, seed=1), values(4, seed=2)
    want = convolved(X, weight, 2, before, 1, counts) + bias[:, None, None]
    body = f'type: "Convolution" convolution_param {{ num_output: 4 kernel_size: 3 {body} }}'
    agree_everywhere(tmp_path, monkeypatch, body, [X], want, [weight, bias])


def test_deconvolution_in_every_form(tmp_path, monkeypatch):
    weight, bias = values(3, 2, 3, 3, seed=1), values(2, seed=2)
    want = np.zeros((2, 2, 15, 13)) + bias[:, None, None]
    for n, c, o, i, j, di, dj in np.ndindex(2, 3, 2, 7, 6, 3, 3):
        want[n, o, 2 * i + di, 2 * j + dj] += X[n, c, i, j] * weight[c, o, di, dj]
    body = "num_output: 2 kernel_size: 3 stride: 2 pad_t: 1 pad_r: 2"
    agree_everywhere(
        tmp_path, monkeypatch, f'type: "Deconvolution" convolution_param {{ {body} }}', [X], want[:, :, 1:, :-2],
        [weight, bias],
    )  # fmt: skip


IMAGE = (1, 2, 6, 6)
WRONG = [
    ("Pooling", "pooling_param { kernel_size: 3 ceil_mode: true round_mode: FLOOR }", "ceil_mode: true and round_mode"),
    ("Pooling", "pooling_param { kernel_size: 3 ceil_mode: false round_mode: CEIL }", "contradict each other"),
    ("Pooling", "pooling_param { kernel_size: 3 pad: 1 pad_l: 1 }", "give pad or pad_l, pad_r, pad_t and pad_b"),
    ("Pooling", "pooling_param { kernel_size: 3 pad_type: 1 pad_l: 1 }", "give pad_l or pad_type"),
    ("Pooling", "pooling_param { kernel_size: 3 pad_type: 2 }", "pad_type is 0, or 1"),
    ("Pooling", "pooling_param { kernel_size: 2 pad_t: 2 }", r"pad_h \(=2\) must be less than kernel_h"),
    ("Pooling", "pooling_param { kernel_size: 2 pad_b: 5 }", "holds more than one window"),
    ("Pooling", "pooling_param { global_pooling: true pad_l: 1 }", "global_pooling needs pad 0"),
    ("Pooling", "pooling_param { pool: STOCHASTIC kernel_size: 2 pad_l: 1 }", "only MAX and AVE"),
    ("Convolution", "convolution_param { num_output: 1 kernel_size: 3 pad: 1 pad_l: 1 }", "give pad or pad_l"),
    (
        "Convolution",
        "convolution_param { num_output: 1 kernel_size: 3 pad_w: 1 pad_type: 1 }",
        "give pad_w or pad_type",
    ),
    ("Convolution", "convolution_param { num_output: 1 kernel_size: 3 pad_type: 3 }", "pad_type is 0, or 1"),
    (
        "Convolution",
        "convolution_param { num_output: 1 kernel_size: 3 axis: 2 pad_l: 1 }",
        "need 2 spatial axes, not 1",
    ),
    ("Deconvolution", "convolution_param { num_output: 1 kernel_size: 3 pad_type: 1 }", "pad_type is for Convolution"),
]


@pytest.mark.parametrize(("type_name", "body", "message"), WRONG)
def test_what_is_refused(type_name, body, message):
    with pytest.raises(LayerError, match=message) as caught:
        make(type_name, body, [IMAGE])
    assert caught.value.field is not None


def test_zeros_on_all_sides_leave_pad_as_it_is():
    x = values(1, 2, 5, 5)
    zeros = "pad_l: 0 pad_r: 0 pad_t: 0 pad_b: 0"
    for body in ("kernel_size: 3 pad: 1 stride: 2", "kernel_size: 3 stride: 2"):
        tops = [run(make("Pooling", f"pooling_param {{ {body} {more} }}", [x.shape]), x) for more in ("", zeros)]
        assert np.array_equal(*tops)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("Pooling", "pooling_param { kernel_size: 3 stride: 2 %s }"),
        ("Convolution", "convolution_param { num_output: 1 kernel_size: 3 stride: 2 %s }"),
        ("Deconvolution", "convolution_param { num_output: 1 kernel_size: 3 stride: 2 %s }"),
    ],
)
def test_where_places_lie_is_as_with_the_same_pad_before(kind, body):
    sided = make(kind, body % "pad_t: 1 pad_l: 1", [IMAGE])
    padded = make(kind, body % "pad: 1", [IMAGE])
    ours, caffes = (layer.places(layer.layer_param) for layer in (sided, padded))
    assert np.allclose(ours.scale, caffes.scale)
    assert np.allclose(ours.shift, caffes.shift)
    assert kind == "Deconvolution" or make(kind, body % "pad_type: 1", [IMAGE]).places(
        net_param(f'layer {{ type: "{kind}" {body % "pad_type: 1"} }}').layer[0]
    ) is None  # fmt: skip
