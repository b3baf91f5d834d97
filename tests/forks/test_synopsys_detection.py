"""Synopsys' PriorBox, Proposal and places of eps, in float64 numpy that goes through boxes and pixels one by one."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from fork_layers import fill, gradients_agree, make, run, values
from fork_written import agree_everywhere

from sdcaffe.errors import LayerError


def close(found, want):
    assert np.allclose(found, want, rtol=1e-9, atol=1e-11)


# ---------------------------------------------------------------- PriorBox


def boxes_of(sizes, h, w, image, insets, y_first):
    """Row 0 of a PriorBox: corner by corner, of sizes (width, height) in pixels."""
    found = []
    for row, column, (i, (wide, high)) in itertools.product(range(h), range(w), enumerate(sizes)):
        x, y = (column + 0.5) * image[1] / w, (row + 0.5) * image[0] / h
        left, right = (x - wide / 2) / image[1] + insets[i], (x + wide / 2) / image[1] - insets[i]
        above, below = (y - high / 2) / image[0] + insets[i], (y + high / 2) / image[0] - insets[i]
        found += [above, left, below, right] if y_first else [left, above, right, below]
    return found


TWO = math.sqrt(2)
PRIORS = [
    # max_size's square comes last, 60's square is smaller by a tenth of the image
    (
        "tf: true min_size: 60 max_size: 90 aspect_ratio: 2",
        [(60, 60), (60 * TWO, 60 / TWO), (60 / TWO, 60 * TWO), (math.sqrt(5400),) * 2],
        [0.05, 0, 0, 0],
    ),
    ("tf: true min_size: 59", [(59, 59)], [0]),
    # max_size's square first; ratios, then their inverses, of which one is a ratio already
    (
        "keras: true min_size: 60 max_size: 90 aspect_ratio: 2 aspect_ratio: 4 aspect_ratio: 0.5",
        [(math.sqrt(5400),) * 2, (60, 60), (60 * TWO, 60 / TWO), (120, 30), (60 / TWO, 60 * TWO), (30, 120)],
        [0] * 6,
    ),
    ("box_width: 7 box_height: 3 box_width: 5.5 box_height: 30 min_size: 4", [(7, 3), (5.5, 30)], [0, 0]),
    ("min_size: 6 max_size: 24", [(6, 6), (12, 12)], [0, 0]),
]


@pytest.mark.parametrize("y_first", [False, True])
@pytest.mark.parametrize(("fields", "sizes", "insets"), PRIORS)
def test_prior_boxes(fields, sizes, insets, y_first, tmp_path, monkeypatch):
    feature, image = np.zeros((1, 2, 2, 3)), np.zeros((1, 3, 100, 150))
    order = "yx_order: true" if y_first else ""
    body = f"prior_box_param {{ {fields} {order} variance: [0.1, 0.2, 0.3, 0.4] }}"
    corners = boxes_of(sizes, 2, 3, (100, 150), insets, y_first)
    want = np.array([corners, [0.1, 0.2, 0.3, 0.4] * (len(corners) // 4)])[None]
    agree_everywhere(tmp_path, monkeypatch, f'type: "PriorBox" {body}', [feature, image], want)


def test_clipped_prior_boxes(tmp_path, monkeypatch):
    feature, image = np.zeros((1, 2, 2, 3)), np.zeros((1, 3, 100, 150))
    body = 'type: "PriorBox" prior_box_param { tf: true yx_order: true min_size: 60 clip: true }'
    corners = np.clip(boxes_of([(60, 60)], 2, 3, (100, 150), [0.05], True), 0, 1)
    assert (corners == 0).any()
    agree_everywhere(tmp_path, monkeypatch, body, [feature, image], np.stack([corners, np.full(24, 0.1)])[None])


def test_prior_boxes_want_as_many_heights():
    with pytest.raises(LayerError, match="as many box_height"):
        make("PriorBox", "prior_box_param { box_width: 3 }", [(1, 2, 2, 3), (1, 3, 9, 9)])


# ---------------------------------------------------------------- Proposal


def overlap(a, b):
    wide = max(min(a[2], b[2]) - max(a[0], b[0]) + 1, 0)
    high = max(min(a[3], b[3]) - max(a[1], b[1]) + 1, 0)
    own, other = ((q[2] - q[0] + 1) * (q[3] - q[1] + 1) for q in (a, b))
    return wide * high / (own + other - wide * high)


def proposed(scores, moves, info, scales, ratios, base, stride, least, most, limit):
    """Anchor by anchor, row by row: boxes moved, cut, the small ones dropped but for the last, the best kept."""
    h, w = scores.shape[2:]
    candidates = []
    for k, (ratio, scale) in enumerate(itertools.product(ratios, scales)):
        wide = round(math.sqrt(base * base / ratio))
        high = math.floor(wide * ratio + 0.5) * scale
        wide *= scale
        for i, j in np.ndindex(h, w):
            dx, dy, dw, dh = moves[0, 4 * k : 4 * k + 4, i, j]
            x = (base - 1) / 2 + 0.5 + j * stride + wide * dx
            y = (base - 1) / 2 + 0.5 + i * stride + high * dy
            half = wide * math.exp(dw) / 2, high * math.exp(dh) / 2
            box = [x - half[0], y - half[1], x + half[0], y + half[1]]
            box = [max(min(v, info[1 - n % 2] - 1), 0) for n, v in enumerate(box)]
            candidates.append((scores[0, len(scales) * len(ratios) + k, i, j], len(candidates), box))
    last = len(candidates) - 1
    large = [
        c for c in candidates if c[1] == last or min(c[2][2] - c[2][0] + 1, c[2][3] - c[2][1] + 1) >= least * info[2]
    ]
    kept = []
    for score, _, box in sorted(large, key=lambda c: c[:2], reverse=True):
        if all(overlap(box, other) <= limit for _, other in kept):
            kept.append((score, box))
    kept = kept[:most]
    return np.array([[0, *box] for _, box in kept]), np.array([[score] for score, _ in kept])


@pytest.mark.parametrize(
    ("fields", "scales", "ratios", "most", "limit", "least"),
    [
        ("", (8, 16, 32), (0.5, 1, 2), 300, 0.7, 16),
        ("anchor_scale: 1 anchor_ratio: 1 anchor_base_size: 4 feat_stride: 6", (32,), (1,), 300, 0.7, 16),
        ("max_rois: 5 rpn_nms_thresh: 0.3 rpn_min_size: 30", (8, 16, 32), (0.5, 1, 2), 5, 0.3, 30),
    ],
)
def test_synopsys_proposal(fields, scales, ratios, most, limit, least):
    count, random = len(scales) * len(ratios), np.random.RandomState(3)
    scores = np.round(random.rand(1, 2 * count, 4, 5), 1)  # many are equal
    moves, info = random.randn(1, 4 * count, 4, 5) * 0.4, np.array([[160.0, 200.0, 1.5]])
    shapes = [scores.shape, moves.shape, info.shape]
    layer = make("Proposal", f"proposal_param {{ {fields} }}" if fields else "", shapes, tops=2)
    base, stride = (4, 6) if "anchor_base_size" in fields else (16, 16)
    want = proposed(scores, moves, info[0], scales, ratios, base, stride, least, most, limit)
    assert 3 < len(want[0]) <= most
    for found, expected in zip(run(layer, scores, moves, info), want, strict=True):
        assert found.shape == expected.shape
        close(found, expected)


def test_what_stands_behind_the_scales_of_pvanets_images_is_not_looked_at():
    """PVANet's own nets have six numbers of an image."""
    random = np.random.RandomState(5)
    scores, moves = random.rand(1, 4, 3, 4), random.randn(1, 8, 3, 4) * 0.3
    four = np.array([[60.0, 70.0, 1.2, 0.4]])
    six = np.append(four, [[1e9, -1e9]], 1)
    body = "proposal_param { ratio: 1 scale: 1 scale: 2 min_size: 20 }"
    tops = [run(make("Proposal", body, [scores.shape, moves.shape, info.shape]), scores, moves, info)
            for info in (four, six)]  # fmt: skip
    assert len(tops[0]) > 2
    assert np.array_equal(*tops)


# ---------------------------------------------------------------- eps

X = 2 * values(4, 3, 3, 2) + 1
EPS = float(np.float32(0.3))
BEHIND = "add_eps_before_sqrt: false eps: 0.3"


def by_channel(function):
    """`function` of the values of each channel of X, put back."""
    found = np.empty_like(X)
    for c in range(X.shape[1]):
        found[:, c] = function(X[:, c], c)
    return found


def test_batch_norm_by_stored_statistics(tmp_path, monkeypatch):
    mean, variance, weight = np.array([0.5, -0.25, 1.5]), np.array([1.5, 0.75, 2.5]), 4.0
    want = by_channel(lambda x, c: (x - mean[c]) / (math.sqrt(variance[c]) + EPS))
    blobs = [mean * weight, variance * weight, [weight]]
    layer = fill(make("BatchNorm", f"batch_norm_param {{ {BEHIND} }}", [X.shape]), *blobs)
    close(run(layer, X), want)
    assert gradients_agree(layer, X)
    body = f'type: "BatchNorm" batch_norm_param {{ {BEHIND} }}'
    agree_everywhere(tmp_path, monkeypatch, body, [X], want, blobs)


def test_batch_norm_by_the_batch():
    """In the fork's backward the divisor stands for the deviation: y's share is not what y's derivative would give."""
    layer = make("BatchNorm", f"batch_norm_param {{ {BEHIND} moving_average_fraction: 0.5 }}", [X.shape], phase="TRAIN")
    fill(layer, [1, 2, 3], [4, 5, 6], [7])
    bottom, slope = torch.tensor(X, requires_grad=True), values(*X.shape, seed=2)
    top = layer(bottom)
    divisor = [X[:, c].std() + EPS for c in range(3)]
    y = by_channel(lambda x, c: (x - x.mean()) / divisor[c])
    close(top.detach(), y)
    top.backward(torch.tensor(slope))
    want = np.empty_like(X)
    for c in range(3):
        g, own = slope[:, c], y[:, c]
        want[:, c] = (g - g.mean() - own * (g * own).mean()) / divisor[c]
    close(bottom.grad, want)
    close(layer.blobs[0], 0.5 * np.array([1, 2, 3]) + X.mean((0, 2, 3)))
    close(layer.blobs[1], 0.5 * np.array([4, 5, 6]) + X.var((0, 2, 3), ddof=1))
    close(layer.blobs[2], [4.5])


def test_a_norm_behind_a_convolution_in_the_test_phase(tmp_path, monkeypatch):
    """A net may make the norm part of the convolution's weights: the numbers stay."""
    import sdcaffe
    from sdcaffe import proto

    monkeypatch.chdir(tmp_path)
    (tmp_path / "n.prototxt").write_text(
        'layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 4 dim: 3 dim: 3 dim: 2 } } }\n'
        'layer { name: "c" type: "Convolution" bottom: "x" top: "c" convolution_param { num_output: 3 kernel_size: 1\n'
        '  bias_term: false weight_filler { type: "constant" value: 0.5 } } }\n'
        f'layer {{ name: "b" type: "BatchNorm" bottom: "c" top: "b" batch_norm_param {{ {BEHIND} }} }}'
    )
    net = sdcaffe.Net(proto.read_net("n.prototxt"))
    for blob, given in zip(net.layers["b"].blobs, ([1, 2, 3], [4, 5, 6], [2]), strict=True):
        blob.data.copy_(torch.tensor(given))
    sums = X.sum(1, keepdims=True) * 0.5
    want = np.concatenate([(sums - m / 2) / (math.sqrt(v / 2) + EPS) for m, v in ((1, 4), (2, 5), (3, 6))], 1)
    with torch.no_grad():
        assert np.allclose(net({"x": X})["b"], want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("across", [False, True])
def test_mvn(across, tmp_path, monkeypatch):
    body = f"mvn_param {{ add_eps_before_sqrt: true eps: 0.3 across_channels: {str(across).lower()} }}"
    want = np.empty_like(X)
    for n in range(4):
        for part in [slice(0, 3)] if across else [slice(c, c + 1) for c in range(3)]:
            own = X[n, part]
            want[n, part] = (own - own.mean()) / math.sqrt(own.var() + EPS)
    layer = make("MVN", body, [X.shape])
    close(run(layer, X), want)
    assert gradients_agree(layer, X)
    agree_everywhere(tmp_path, monkeypatch, f'type: "MVN" {body}', [X], want)


def test_normalize(tmp_path, monkeypatch):
    """The gradient is the fork's, by the norm with eps; over channels alone eps stays under the root."""
    root = [math.sqrt((x * x).sum()) + EPS for x in X]
    want = np.stack([2 * x / norm for x, norm in zip(X, root, strict=True)])
    layer = fill(make("Normalize", f"norm_param {{ {BEHIND} }}", [X.shape]), [2])
    close(run(layer, X), want)
    bottom, slope = torch.tensor(X, requires_grad=True), values(*X.shape, seed=2)
    layer(bottom).backward(torch.tensor(slope))
    each = zip(X, slope, root, strict=True)
    close(bottom.grad, np.stack([2 * (g - x * (x * g).sum() / norm**2) / norm for x, g, norm in each]))
    close(layer.blobs[0].grad, (X * slope / np.array(root)[:, None, None, None]).sum())
    agree_everywhere(tmp_path, monkeypatch, f'type: "Normalize" norm_param {{ {BEHIND} }}', [X], want, [[2]])
    apart = make("Normalize", f"norm_param {{ {BEHIND} across_spatial: false }}", [X.shape])
    close(run(apart, X), X / np.sqrt((X * X).sum(1, keepdims=True) + EPS))
