"""CAFFE-DACH's layers against float64 numpy and counting, and in every form that they are written in."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from fork_layers import fill, gradients_agree, make, run, values
from fork_written import agree_everywhere
from hypothesis import given, settings
from hypothesis import strategies as st

from sdcaffe.errors import LayerError

few = settings(derandomize=True, deadline=None, max_examples=20, database=None)


# ---------------------------------------------------------------- LogScaler, ExpScaler


@pytest.mark.parametrize(("fields", "scale", "base"), [("", 1, np.e), ("scale: 3 base: 10", 3, 10)])
def test_log_scaler_and_its_inverse(fields, scale, base, tmp_path, monkeypatch):
    x = values(3, 7) * 4
    want = np.array([np.copysign(np.log1p(scale * abs(v)) / np.log(base), v) for v in x.flat]).reshape(x.shape)
    body = f"log_scaler_param {{ {fields} }}"
    layer = make("LogScaler", body, [x.shape])
    assert np.allclose(run(layer, x), want, rtol=1e-12)
    assert gradients_agree(layer, x)
    back = make(
        "ExpScaler", f"exp_scaler_param {{ scale: {1 / scale} base: {base if base != np.e else -1} }}", [x.shape]
    )
    assert np.allclose(run(back, want), x, rtol=1e-6)
    assert gradients_agree(back, want)
    agree_everywhere(tmp_path, monkeypatch, f'type: "LogScaler" {body}', [x], want)


def test_exp_scaler_in_every_form(tmp_path, monkeypatch):
    x = values(3, 7)
    want = np.where(x > 0, 2 * (4.0**x - 1), 2 * (1 - 4.0**-x))
    agree_everywhere(tmp_path, monkeypatch, 'type: "ExpScaler" exp_scaler_param { scale: 2 base: 4 }', [x], want)


@pytest.mark.parametrize(("kind", "field", "slope"), [("LogScaler", "log", 3), ("ExpScaler", "exp", 3)])
def test_the_slope_of_a_scaler_at_0_is_its_scale(kind, field, slope):
    layer = make(kind, f"{field}_scaler_param {{ scale: 3 }}", [(2,)])
    bottom = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    layer(bottom).sum().backward()
    assert bottom.grad.tolist() == [slope, slope]


# ---------------------------------------------------------------- Gridding, Degridding


def begins(size, kernel, stride):
    """Where windows begin: the first at 0, more until one reaches the end or the next would begin behind it."""
    found = [0]
    while found[-1] + kernel < size and found[-1] + stride < size:
        found.append(found[-1] + stride)
    return found


def place(kind, window, offset, kernel, stride):
    """Which weight of an axis a window has for a value `offset` places behind its beginning."""
    return offset + window * {"incomplete": min(kernel, stride), "complete": kernel, "shared": 0}[kind]


def entries(kind, size, kernel, stride):
    """Every (window, place of the input, place of the weight) of a grid over `size`; how many weights there are."""
    axes = []
    for n, k, s in zip(size, kernel, stride, strict=True):
        starts = begins(n, k, s)
        axes.append(
            [(i, at + j, place(kind, i, j, k, s)) for i, at in enumerate(starts) for j in range(k) if at + j < n]
        )
    tops = [1 + max(i for i, _, _ in axis) for axis in axes]
    weights = [1 + max(w for _, _, w in axis) for axis in axes]
    return [tuple(zip(*each, strict=True)) for each in itertools.product(*axes)], tops, weights


kinds = st.sampled_from(["incomplete", "complete", "shared"])
three = st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))
sizes = st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 6))


def fields(kernel, stride, cut=(0, 0, 0)):
    stems = (("kernel", kernel), ("stride", stride)) + ((("cutoff", cut),) if any(cut) else ())
    return " ".join(f"{stem}_{axis}: {n}" for stem, given in stems for axis, n in zip("chw", given, strict=True))


def gridded(kind, x, kernel, stride, seed=1):
    each, tops, weights = entries(kind, x.shape[1:], kernel, stride)
    weight, bias = values(*weights, seed=seed), values(*tops, seed=2)
    top = np.broadcast_to(bias, (len(x), *tops)).copy()
    for window, at, own in each:
        top[(slice(None), *window)] += weight[own] * x[(slice(None), *at)]
    return top, weight, bias


@few
@given(kinds, sizes, three, three)
def test_gridding(kind, size, kernel, stride):
    x = values(2, *size)
    want, weight, bias = gridded(kind, x, kernel, stride)
    layer = make("Gridding", f'gridding_param {{ gridding: "{kind}_gridding" {fields(kernel, stride)} }}', [x.shape])
    fill(layer, weight, bias)
    assert np.allclose(run(layer, x), want, rtol=1e-12)
    assert gradients_agree(layer, x[:1])


@few
@given(kinds, sizes, three, three, three)
def test_degridding(kind, size, kernel, stride, cut):
    cut = tuple(min(c - 1, k - 1, s - 1) for c, k, s in zip(cut, kernel, stride, strict=True))
    x = values(2, *size)
    top = [(n - 1) * s + k - c for n, k, s, c in zip(size, kernel, stride, cut, strict=True)]
    each, windows, weights = entries(kind, top, kernel, stride)
    assert tuple(windows) == size
    weight, bias = values(*weights, seed=1), values(*top, seed=2)
    want = np.broadcast_to(bias, (2, *top)).copy()
    for window, at, own in each:
        want[(slice(None), *at)] += weight[own] * x[(slice(None), *window)]
    body = f'degridding_param {{ degridding: "{kind}_degridding" {fields(kernel, stride, cut)} }}'
    layer = fill(make("Degridding", body, [x.shape]), weight, bias)
    assert np.allclose(run(layer, x), want, rtol=1e-12)
    assert gradients_agree(layer, x[:1])


@pytest.mark.parametrize("kind", ["incomplete", "complete", "shared"])
def test_grids_in_every_form(kind, tmp_path, monkeypatch):
    x, kernel, stride = values(2, 3, 5, 6), (2, 3, 2), (1, 2, 3)
    want, *blobs = gridded(kind, x, kernel, stride)
    body = f'type: "Gridding" gridding_param {{ gridding: "{kind}_gridding" {fields(kernel, stride)} }}'
    agree_everywhere(tmp_path, monkeypatch, body, [x], want, blobs)
    one = values(2, 1, 2, 3)
    wanted = f'degridding: "{kind}_degridding" bias_term: false {fields(kernel, stride)}'
    layer = make("Degridding", f"degridding_param {{ {wanted} }}", [one.shape])
    weight = values(*layer.blobs[0].shape, seed=3)
    body = f'type: "Degridding" degridding_param {{ {wanted} }}'
    agree_everywhere(tmp_path, monkeypatch, body, [one], run(fill(layer, weight), one), [weight])


# ---------------------------------------------------------------- PrecisionRecall, AUC


def test_precision_and_recall_of_each_class():
    scores = np.array(
        [[3, 1, 2], [1, 5, 2], [4, 4, 1], [0, 1, 0], [2, 0, 1]], float
    )  # called 0, 1, 0 (the first), 1, 0
    label = np.array([0, 0, 0, 1, 1], float)
    precision, recall = run(make("PrecisionRecall", "", [scores.shape, label.shape], tops=2), scores, label)
    assert precision == pytest.approx([2 / 3, 1 / 2, 1])
    assert recall == pytest.approx([2 / 3, 1 / 2, 1])


def test_precision_and_recall_of_each_place():
    scores, label = values(4, 3, 2), np.array([[0, 1], [2, 2], [1, 0], [0, 2]], float)
    found = run(make("PrecisionRecall", "", [scores.shape, label.shape], tops=2), scores, label)
    for place in range(2):
        own = run(make("PrecisionRecall", "", [(4, 3), (4,)], tops=2), scores[:, :, place], label[:, place])
        for all_places, one in zip(found, own, strict=True):
            assert np.array_equal(all_places[:, place], one)


def test_auc_is_how_often_pairs_are_in_order():
    scores, label = np.round(values(12, 3), 0), np.arange(12) % 3.0  # with many ties
    found = run(make("AUC", "", [scores.shape, label.shape]), scores, label)
    for c in range(3):
        pairs = [(a > b) + 0.5 * (a == b) for a in scores[label == c, c] for b in scores[label != c, c]]
        assert found[c] == pytest.approx(np.mean(pairs))
    assert make("AUC", "", [(2, 2), (2,)])(torch.tensor(values(2, 2)), torch.zeros(2)).isnan().all()


@pytest.mark.parametrize(
    ("kind", "body", "shapes", "word"),
    [
        ("LogScaler", "log_scaler_param { base: 1 }", [(2, 3)], "base"),
        ("ExpScaler", "exp_scaler_param { scale: 0 }", [(2, 3)], "scale"),
        ("Gridding", 'gridding_param { gridding: "free" }', [(2, 3, 4, 4)], "incomplete_gridding"),
        ("Gridding", "gridding_param { kernel_w: 0 }", [(2, 3, 4, 4)], "kernel_w"),
        ("Gridding", "", [(2, 3)], "4 axes"),
        ("Degridding", "degridding_param { cutoff_h: 1 }", [(2, 3, 4, 4)], "cutoff_h"),
        ("AUC", "", [(2, 3), (3,)], "need 2 labels"),
    ],
)
def test_what_is_wrong_is_named(kind, body, shapes, word):
    with pytest.raises(LayerError, match=word):
        make(kind, body, shapes)
