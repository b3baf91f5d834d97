"""CAFFE-DACH's Pooling over channels, against numpy that walks over windows as its source does."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from fork_layers import gradients_agree, make, run, values
from fork_written import agree_everywhere
from hypothesis import given, settings
from hypothesis import strategies as st

from sdcaffe.errors import LayerError

few = settings(derandomize=True, deadline=None, max_examples=25, database=None)


def windows(size, kernel, stride, pad):
    """The places of each window of an axis that are in the image; windows begin in it until one reaches its end."""
    found, start = [], -pad
    while True:
        found.append([i for i in range(start, start + kernel) if 0 <= i < size])
        if start + kernel >= size + pad or start + stride >= size:
            return found
        start += stride


def pooled(x, method, kernel, stride, pad):
    axes = [windows(*each) for each in zip(x.shape[1:], kernel, stride, pad, strict=True)]
    top = np.empty((x.shape[0], *map(len, axes)))
    for n, *at in itertools.product(*map(range, top.shape)):
        own = x[n][np.ix_(*(axis[i] for axis, i in zip(axes, at, strict=True)))]
        top[(n, *at)] = own.max() if method == "MAX" else own.mean()
    return top


def body(method, kernel, stride, pad):
    fields = [f"{stem}_{axis}: {n}" for stem, sizes in (("kernel", kernel), ("stride", stride), ("pad", pad))
              for axis, n in zip("chw", sizes, strict=True)]  # fmt: skip
    return f"pooling_param {{ pool: {method} {' '.join(fields)} }}"


three = st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))
pads = st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2))


@pytest.mark.parametrize("method", ["MAX", "AVE"])
@few
@given(st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(2, 6)), three, three, pads)
def test_any_windows(method, size, kernel, stride, pad):
    pad = tuple(min(p, k - 1) for p, k in zip(pad, kernel, strict=True))
    x = values(2, *size)
    layer = make("Pooling", body(method, kernel, stride, pad), [x.shape])
    assert np.allclose(run(layer, x), pooled(x, method, kernel, stride, pad), rtol=1e-12)
    assert gradients_agree(layer, x[:1])


@pytest.mark.parametrize("method", ["MAX", "AVE"])
def test_in_every_form(tmp_path, monkeypatch, method):
    x, sizes = values(2, 6, 7, 5), ((2, 3, 3), (2, 2, 2), (0, 1, 0))
    want = pooled(x, method, *sizes)
    agree_everywhere(tmp_path, monkeypatch, f'type: "Pooling" {body(method, *sizes)}', [x], want)


def test_sizes_of_one_channel_are_caffes_own_max():
    x = values(2, 3, 7, 6)
    ours = make("Pooling", "pooling_param { kernel_c: 1 stride_c: 1 kernel_h: 3 kernel_w: 3 stride_h: 2 stride_w: 2 }",
                [x.shape])  # fmt: skip
    caffes = make("Pooling", "pooling_param { kernel_size: 3 stride: 2 }", [x.shape])
    assert np.array_equal(run(ours, x), run(caffes, x))


@pytest.mark.parametrize(
    ("fields", "message"),
    [("kernel_c: 1", r"kernel_h \(=0\)"), ("kernel_c: 1 kernel_size: 3", "has no kernel_size"),
     ("kernel_c: 2 kernel_h: 2 kernel_w: 2 pad_c: 2", r"pad_c \(=2\) must be less"),
     ("kernel_c: 2 kernel_h: 2 kernel_w: 2 pool: STOCHASTIC", "is MAX or AVE"),
     ("stride_c: 1 global_pooling: true", "has no global_pooling")],
)  # fmt: skip
def test_what_is_refused(fields, message):
    with pytest.raises(LayerError, match=message):
        make("Pooling", f"pooling_param {{ {fields} }}", [(1, 4, 4, 4)])
