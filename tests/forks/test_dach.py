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


# ---------------------------------------------------------------- MultiModalBatchNorm


def weighted_norm(x, w, eps):
    """Weighted by hand: each item counted w times, over places too."""
    top = np.empty_like(x)
    statistics = []
    for c in range(x.shape[1]):
        weights = np.repeat(w, x[0, c].size)
        mean = np.average(x[:, c].ravel(), weights=weights)
        variance = np.average((x[:, c].ravel() - mean) ** 2, weights=weights)
        statistics.append((mean, variance))
        top[:, c] = (x[:, c] - mean) / np.sqrt(variance + eps) * w.reshape(-1, *[1] * (x.ndim - 2))
    return top, np.array(statistics).T


@pytest.mark.parametrize("shape", [(5, 3), (4, 2, 3, 2)])
def test_multimodal_batch_norm_by_the_batch(shape):
    x, w = values(*shape), np.linspace(0.1, 0.9, shape[0])
    body = "multimodal_batch_norm_param { moving_average_fraction: 0.5 eps: 1e-12 }"
    layer = make("MultiModalBatchNorm", body, [shape, (shape[0], 1)], phase="TRAIN")
    want, (mean, variance) = weighted_norm(x, w, 1e-12)
    bottoms = [torch.tensor(x, requires_grad=True), torch.tensor(w[:, None], requires_grad=True)]
    assert np.allclose(layer(*bottoms).detach().numpy(), want, rtol=1e-12)
    n = x.size // shape[1]
    for blob, value in zip(layer.blobs, (mean, variance * n / (n - 1), 1), strict=True):
        assert np.allclose(blob.numpy(), value)
    layer(*bottoms)
    assert layer.blobs[2].item() == 1.5
    assert gradients_agree(layer, x, w[:, None])  # with so small an eps the fork's gradient is the true one


def test_multimodal_batch_norms_gradient_takes_eps_for_nothing():
    x, w = values(6, 2), np.linspace(0.2, 1, 6)
    layer = make("MultiModalBatchNorm", "multimodal_batch_norm_param { eps: 0.5 }", [x.shape, (6,)], phase="TRAIN")
    bottoms = [torch.tensor(x, requires_grad=True), torch.tensor(w, requires_grad=True)]
    layer(*bottoms).square().sum().backward()
    mean = (w @ x) / w.sum()
    deviation = np.sqrt((w @ (x - mean) ** 2) / w.sum() + 0.5)
    normed = (x - mean) / deviation
    grad = 2 * normed * w[:, None]
    for i in range(6):  # of each item by its own terms, as the source has them
        along, plain = (w[:, None] * grad * normed).sum(0), (w[:, None] * grad).sum(0)
        slope = w[i] / deviation * (grad[i] - plain / w.sum() - normed[i] * along / w.sum())
        assert np.allclose(bottoms[0].grad[i].numpy(), slope)
        own = (grad[i] * normed[i]).sum() - (along * (normed[i] ** 2 - 1) / 2 + plain * normed[i]).sum() / w.sum()
        assert bottoms[1].grad[i].item() == pytest.approx(own)


def test_multimodal_batch_norm_by_what_is_stored(tmp_path, monkeypatch):
    x, w = values(3, 2, 4, 5), np.array([0.5, 1, 2])
    mean, variance = np.array([0.5, -1]), np.array([2, 0.3])
    want = (x - mean[:, None, None]) / np.sqrt(variance[:, None, None] + 1e-5) * w[:, None, None, None]
    blobs = [mean * 4, variance * 4, 4]
    agree_everywhere(tmp_path, monkeypatch, 'type: "MultiModalBatchNorm"', [x, w], want, blobs)
    layer = fill(make("MultiModalBatchNorm", "", [x.shape, w.shape]), *blobs)
    bottoms = [torch.tensor(x, requires_grad=True), torch.tensor(w, requires_grad=True)]
    layer(*bottoms).sum().backward()
    assert np.allclose(bottoms[0].grad[0, :, 0, 0].numpy(), 1 / np.sqrt(variance + 1e-5))  # as the fork: without w
    assert bottoms[1].grad is None


# ---------------------------------------------------------------- EntropyLoss


@pytest.mark.parametrize(("fields", "by"), [("", 10), ("loss_param { normalization: NONE }", 1),
                                            ("loss_param { normalize: false }", 2)])  # fmt: skip
def test_dachs_entropy_loss(fields, by):
    x = values(2, 4, 5)
    prob = np.exp(x) / np.exp(x).sum(1, keepdims=True)
    layer = make("EntropyLoss", fields, [x.shape])
    assert run(layer, x) == pytest.approx(sum(-p * np.log(p) for p in prob.flat) / by)
    assert gradients_agree(layer, x)


# ---------------------------------------------------------------- MMDLoss, MMDXLoss


def kernels(rows, others, gamma, numb, mult):
    squared = ((rows[:, None] - others) ** 2).sum(-1)
    return sum(np.exp(-gamma * mult ** (k - numb // 2) * squared) for k in range(numb))


def expected(source, target, numb, mult):
    """What one drawing adds on average: rows of a domain are never paired with themselves, the next row for them."""
    rows = np.concatenate([source, target])
    n = len(rows)
    gamma = (n * n - n) / ((rows[:, None] - rows) ** 2).sum()

    def within(own):
        size = len(own)
        odds = np.ones((size, size)) - np.eye(size) + np.roll(np.eye(size), 1, 1) if size > 1 else np.ones((1, 1))
        return (odds / odds.sum() * kernels(own, own, gamma, numb, mult)).sum()

    return within(source) + within(target) - 2 * kernels(source, target, gamma, numb, mult).mean()


def sampled(layer, arrays, times=2000):
    """The mean value and mean gradients of a layer that draws, and how far these may be off."""
    torch.manual_seed(0)
    losses, slopes = [], []
    for _ in range(times):
        bottoms = [torch.tensor(array, requires_grad=i < 2) for i, array in enumerate(arrays)]
        loss = layer(*bottoms)
        loss.backward()
        losses.append(loss.item())
        slopes.append(np.concatenate([bottom.grad.numpy().ravel() for bottom in bottoms[:2]]))
    error = 4.5 / times**0.5
    return np.mean(losses), np.std(losses) * error, np.mean(slopes, 0), np.std(slopes, 0) * error


def slope_of(loss, source, target):
    """The derivative of loss(source, target), gamma held as it is at these numbers, by differences."""
    found = []
    for rows in (source, target):
        for at in np.ndindex(rows.shape):
            kept = rows[at]
            sides = []
            for step in (1e-5, -1e-5):
                rows[at] = kept + step
                sides.append(loss(source, target))
            rows[at] = kept
            found.append((sides[0] - sides[1]) / 2e-5)
    return np.array(found)


def with_fixed_gamma(source, target, numb, mult):
    rows = np.concatenate([source, target])
    gamma = (len(rows) ** 2 - len(rows)) / ((rows[:, None] - rows) ** 2).sum()

    def loss(a, b):
        def within(own):
            odds = np.ones((len(own),) * 2) - np.eye(len(own)) + np.roll(np.eye(len(own)), 1, 1)
            return (odds / odds.sum() * kernels(own, own, gamma, numb, mult)).sum()

        return within(a) + within(b) - 2 * kernels(a, b, gamma, numb, mult).mean()

    return loss


def test_dachs_mmd_loss_is_right_on_average():
    source, target = values(3, 2), 0.5 + values(5, 2, seed=1)
    body = "mmd_loss_param { kernel_numb: 4 kernel_mult: 3 loss_weight: 0.5 }"
    mean, off, slopes, slopes_off = sampled(make("MMDLoss", body, [source.shape, target.shape]), [source, target])
    assert off > 0
    assert abs(mean - 5 * expected(source, target, 4, 3)) < off
    want = 0.5 * slope_of(with_fixed_gamma(source, target, 4, 3), source, target)
    assert (np.abs(slopes - want) < slopes_off + 1e-9).all()
    assert np.abs(want).max() > 5 * slopes_off.max()


def test_mmdx_loss_is_between_different_classes_alone():
    source, target = values(4, 2), 0.3 + values(5, 2, seed=1)
    of_source, of_target = np.array([0, 0, 1, 1.0]), np.array([0, 0, 0, 1, 1.0])
    layer = make("MMDXLoss", "mmdx_loss_param { kernel_numb: 3 }", [(4, 2), (5, 2), (4,), (5,)])
    mean, off, slopes, slopes_off = sampled(layer, [source, target, of_source, of_target])
    pairs = [(source[:2], target[3:], 2), (source[2:], target[:3], 3)]
    assert abs(mean - sum(count * expected(a, b, 3, 2) for a, b, count in pairs)) < off
    want = np.zeros(18).reshape(9, 2)
    for (a, b, _), rows in zip(pairs, ([0, 1, 7, 8], [2, 3, 4, 5, 6]), strict=True):
        want[rows] += slope_of(with_fixed_gamma(a, b, 3, 2), a.copy(), b.copy()).reshape(-1, 2)
    assert (np.abs(slopes - want.ravel()) < slopes_off + 1e-9).all()
    same = layer(*(torch.tensor(v) for v in (source, target, np.ones(4), np.ones(5))))
    assert same.item() == 0


def test_a_row_alone_gives_mmdx_loss_a_value_and_no_gradient():
    source, target = torch.tensor(values(1, 2), requires_grad=True), torch.tensor(values(3, 2, seed=1))
    layer = make("MMDXLoss", "", [(1, 2), (3, 2), (1,), (3,)])
    loss = layer(source, target, torch.zeros(1), torch.ones(3))
    loss.backward()
    assert loss.item() != 0
    assert not source.grad.any()


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
        ("MultiModalBatchNorm", "", [(2, 3), (3,)], "n weights"),
        ("MMDLoss", "mmd_loss_param { kernel_numb: 0 }", [(2, 3), (3, 3)], "kernel_numb"),
        ("MMDXLoss", "", [(2, 3), (3, 3), (2, 2), (3,)], "a class for each row"),
    ],
)
def test_what_is_wrong_is_named(kind, body, shapes, word):
    with pytest.raises(LayerError, match=word):
        make(kind, body, shapes)


# ---------------------------------------------------------------- GradientAlignment


@pytest.mark.parametrize(("second", "ratio"), [(0.5, 4.0), (2.0, 1.0), (0.0, 0.0)])
def test_gradient_alignment(second, ratio, tmp_path, monkeypatch):
    """The second gradient counts as much as its size lacks to the first's, and not less than once."""
    x, slope = values(2, 3), values(2, 3, seed=1)
    body = "gradient_alignment_param { lambda: 0.25 }"
    layer = make("GradientAlignment", body, [x.shape], tops=2)
    bottom = torch.tensor(x, requires_grad=True)
    tops = layer(bottom)
    assert all(np.array_equal(top.detach(), x) for top in tops)
    torch.autograd.backward(tops, [torch.tensor(slope), torch.tensor(-second * slope)])
    assert np.allclose(bottom.grad, slope * (1 - 0.25 * ratio * second), rtol=1e-12)
    agree_everywhere(tmp_path, monkeypatch, f'type: "GradientAlignment" top: "y" {body}', [x], x)
