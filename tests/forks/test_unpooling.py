"""CAFFE-DACH's Unpooling and the mask of its Pooling, against numpy that asks each place which windows cover it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from fork_layers import gradients_agree, make, net_param, run, values
from fork_written import agree_everywhere
from hypothesis import given, settings
from hypothesis import strategies as st

import sdcaffe
from sdcaffe.errors import LayerError

few = settings(derandomize=True, deadline=None, max_examples=25, database=None)


def covering(place, kernel, stride, pad, count):
    """The windows of an axis that a place lies in."""
    return [i for i in range(count) if i * stride - pad <= place < i * stride - pad + kernel]


def area(window, kernel, stride, pad, size):
    return sum(0 <= place < size for place in range(window * stride - pad, window * stride - pad + kernel))


def unpooled(x, method, tops, kernel, stride, pad, mask=None):
    """Place by place: the values of the windows over it, as a whole, shared, or where the mask says so."""
    top = np.zeros((len(x), *tops))
    for n, *at in itertools.product(*map(range, top.shape)):
        axes = [covering(*each) for each in zip(at, kernel, stride, pad, x.shape[1:], strict=True)]
        for window in itertools.product(*axes):
            value = x[(n, *window)]
            if method == "AVE":
                value /= np.prod([area(*each) for each in zip(window, kernel, stride, pad, tops, strict=True)])
            elif method == "MAX":
                value *= mask[(n, *window)] == np.ravel_multi_index(at, tops)
            top[(n, *at)] += value
    return top


def body(method, kernel, stride, pad=(0, 0, 0), more=""):
    fields = [f"{stem}_{axis}: {n}" for stem, sizes in (("kernel", kernel), ("stride", stride), ("pad", pad))
              for axis, n in zip("chw", sizes, strict=True)]  # fmt: skip
    return f"unpooling_param {{ unpool: {method} {' '.join(fields)} {more} }}"


three = st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))
sizes = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4))


def any_mask(x, tops, seed=0):
    """Places anywhere in the top: some in their windows, some not."""
    return np.random.RandomState(seed).randint(0, np.prod(tops), x.shape).astype(float)


@pytest.mark.parametrize("method", ["MAX", "AVE", "TILE"])
@few
@given(sizes, three, three, st.booleans())
def test_any_windows(method, size, kernel, stride, ceil):
    cut = tuple(max(0, (min(k, s) if ceil else s) - 1) for k, s in zip(kernel, stride, strict=True))
    more = " ".join(f"cutext_{axis}: {n}" for axis, n in zip("chw", cut, strict=True)) + f" ceil3d: {str(ceil).lower()}"
    x = values(2, *size)
    tops = tuple((n - 1) * s + k + (-c if ceil else c) for n, k, s, c in zip(size, kernel, stride, cut, strict=True))
    bottoms = [x, any_mask(x, tops)] if method == "MAX" else [x]
    layer = make("Unpooling", body(method, kernel, stride, more=more), [bottom.shape for bottom in bottoms])
    assert layer.top_shapes == [(2, *tops)]
    want = unpooled(x, method, tops, kernel, stride, (0, 0, 0), *bottoms[1:])
    assert np.allclose(run(layer, *bottoms), want, rtol=1e-12)
    if method != "TILE":
        assert gradients_agree(layer, *bottoms)


def test_a_pad_is_cut_off_at_the_beginning_alone():
    x = values(1, 2, 4, 3)
    layer = make("Unpooling", body("AVE", (1, 3, 2), (1, 3, 2), (0, 1, 1)), [x.shape])
    tops = (2, 3 * 3 + 3 - 1, 2 * 2 + 2 - 1)
    assert np.allclose(run(layer, x), unpooled(x, "AVE", tops, (1, 3, 2), (1, 3, 2), (0, 1, 1)), rtol=1e-12)


def test_the_gradient_of_tile_is_the_mean_over_a_window():
    x, kernel, stride = values(2, 2, 3, 3), (1, 3, 2), (1, 2, 1)
    layer = make("Unpooling", body("TILE", kernel, stride), [x.shape])
    bottom = torch.tensor(x, requires_grad=True)
    top = layer(bottom)
    gradient = values(*top.shape, seed=2)
    top.backward(torch.tensor(gradient))
    for n, *window in itertools.product(*map(range, x.shape)):
        own = [range(i * s, i * s + k) for i, s, k in zip(window, stride, kernel, strict=True)]
        assert bottom.grad[(n, *window)].item() == pytest.approx(gradient[n][np.ix_(*own)].mean())


@pytest.mark.parametrize("method", ["MAX", "AVE", "TILE"])
def test_in_every_form(tmp_path, monkeypatch, method):
    x, kernel, stride, tops = values(2, 2, 3, 4), (2, 3, 3), (1, 2, 2), (3, 7, 9)
    given = [x, any_mask(x, tops)] if method == "MAX" else [x]
    want = unpooled(x, method, tops, kernel, stride, (0, 0, 0), *given[1:])
    agree_everywhere(tmp_path, monkeypatch, f'type: "Unpooling" {body(method, kernel, stride)}', given, want)


POOLED = """
layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: 2 dim: 4 dim: 7 dim: 7 }} }} }}
layer {{ name: "pool" type: "Pooling" bottom: "x" top: "pool" top: "mask" pooling_param {{ pool: MAX {0} }} }}
layer {{ name: "back" type: "Unpooling" bottom: "pool" bottom: "mask" top: "back"
  unpooling_param {{ unpool: MAX {0} }} }}
"""


def test_maxima_go_back_to_where_a_pooling_over_channels_found_them():
    windows = "kernel_c: 2 kernel_h: 3 kernel_w: 3 stride_c: 2 stride_h: 2 stride_w: 2"
    net = sdcaffe.Net(net_param(POOLED.format(windows)))
    x = np.random.RandomState(3).permutation(2 * 4 * 49).reshape(2, 4, 7, 7).astype(np.float32) + 1
    blobs = net.compute(net.feed({"x": x}), keep=("pool", "mask", "back")).blobs
    pool, back = blobs["pool"].detach().numpy(), blobs["back"].detach().numpy()
    assert np.array_equal(back[back > 0], x[back > 0] * np.round(back / x)[back > 0])  # met maxima add up
    for n, c, h, w in itertools.product(*map(range, pool.shape)):
        own = x[n, 2 * c : 2 * c + 2, 2 * h : 2 * h + 3, 2 * w : 2 * w + 3]
        place = np.argwhere(x[n] == own.max())[0]
        assert int(blobs["mask"][n, c, h, w]) == np.ravel_multi_index(tuple(place), (4, 7, 7))
        assert back[(n, *place)] > 0
    assert np.round(back / x).sum() == pool.size


@pytest.mark.parametrize(
    ("fields", "bottoms", "message"),
    [
        ("kernel2d: 2", 2, "needs kernel_c, or kernel3d"),
        ("kernel3d: 2 kernel_h: 3", 2, "kernel3d and kernel_h differ"),
        ("kernel3d: 2", 1, "unpool: MAX takes two bottoms"),
        ("kernel3d: 2 unpool: AVE", 2, "unpool: AVE takes one bottom"),
        ("kernel3d: 2 stride_h: 0", 2, r"stride_h \(=0\) must be at least 1"),
        ("kernel3d: 2 pad_w: 2", 2, r"kernel_w \(=2\) above pad_w \(=2\)"),
        ("kernel3d: 2 stride3d: 2 cutext2d: 2", 2, r"cutext_h \(=2\) must be less than 2"),
        ("kernel3d: 3 stride2d: 2 pad_h: 1", 2, r"has 4 windows, not the bottom's 3; pad_h \(=1\) does not go"),
    ],
)
def test_what_is_refused(fields, bottoms, message):
    with pytest.raises(LayerError, match=message):
        make("Unpooling", f"unpooling_param {{ {fields} }}", [(1, 2, 3, 3)] * bottoms)
    with pytest.raises(LayerError, match="a second top needs pool: MAX"):
        make("Pooling", "pooling_param { pool: AVE kernel_c: 1 kernel_h: 2 kernel_w: 2 }", [(1, 2, 3, 3)], tops=2)
