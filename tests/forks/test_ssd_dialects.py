"""RefineDet's, Synopsys' and deepdetect's DetectionOutput, against loops in numpy written from the forks' sources."""

from __future__ import annotations

import math

import numpy as np
import pytest
from fork_layers import make, run
from fork_written import agree_everywhere, net_text

import sdcaffe
from sdcaffe import proto
from sdcaffe.cli import main
from sdcaffe.errors import LayerError

RANDOM = np.random.RandomState(4)
BODY = """num_classes: 3 background_label_id: 0 code_type: CENTER_SIZE keep_top_k: 9 confidence_threshold: 0.1
    nms_param { nms_threshold: 0.4 top_k: 20 }"""
VARIANCES = np.array([0.1, 0.2, 0.3, 0.4])


def some_priors(count):
    corner = RANDOM.uniform(0, 0.6, (count, 2))
    return np.hstack([corner, corner + RANDOM.uniform(0.1, 0.4, (count, 2))])


def prior_blob(boxes):
    return np.stack([boxes.ravel(), np.tile(VARIANCES, len(boxes))])[None]


def some_scores(*shape):
    odds = np.exp(2 * RANDOM.randn(*shape))
    return odds / odds.sum(-1, keepdims=True)


def decoded(prior, offset):
    """One box, of centre and size."""
    width, height = prior[2] - prior[0], prior[3] - prior[1]
    x = VARIANCES[0] * offset[0] * width + (prior[0] + prior[2]) / 2
    y = VARIANCES[1] * offset[1] * height + (prior[1] + prior[3]) / 2
    width, height = width * math.exp(VARIANCES[2] * offset[2]), height * math.exp(VARIANCES[3] * offset[3])
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]


def jaccard(a, b):
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if wide <= 0 or high <= 0:
        return 0.0
    common = wide * high
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def hard(boxes, order, scores):
    kept = []
    for i in order:
        if all(jaccard(boxes[i], boxes[j]) <= 0.4 for j in kept):
            kept.append(i)
    return kept


def soft(theta):
    """The fork's list of (score, box), pushed to, erased from and sorted as in its source."""

    def suppressed(boxes, order, scores):
        queue, kept = [(scores[i], i) for i in order], []
        while queue:
            score, i = queue[0]
            keep = True
            for j in list(kept):
                if keep:
                    overlap = jaccard(boxes[i], boxes[j])
                    queue.append((score * math.exp(-(overlap**2) / theta), i))
                    queue.pop(0)
                    queue.sort(key=lambda entry: -entry[0])
                    keep = overlap <= 0.4
            if keep:
                kept.append(i)
            queue.pop(0)
        return kept

    return suppressed


def rows(boxes, scores, suppress=hard):
    """boxes (n, priors, 4) and scores (n, priors, 3) to rows, as BODY says."""
    found = []
    for image in range(len(boxes)):
        own = []
        for label in (1, 2):
            order = sorted(np.flatnonzero(scores[image, :, label] > 0.1), key=lambda i: -scores[image, i, label])[:20]
            own += [[image, label, scores[image, i, label], *boxes[image][i]]
                    for i in suppress(boxes[image], order, scores[image, :, label])]  # fmt: skip
        if len(own) > 9:
            own = sorted(sorted(own, key=lambda row: -row[2])[:9], key=lambda row: row[1])
        found += own
    return np.array(found).reshape(1, 1, -1, 7)


@pytest.mark.parametrize("moved", [False, True])
def test_refined_prior_boxes(tmp_path, monkeypatch, moved):
    priors, n = some_priors(30), 2
    location, anchors = RANDOM.randn(n, 30, 4), RANDOM.randn(n, 30, 4)
    scores, objectness = some_scores(n, 30, 3), some_scores(n, 30, 2)
    boxes = np.empty((n, 30, 4))
    for image, i in np.ndindex(n, 30):
        prior = decoded(priors[i], anchors[image, i]) if moved else priors[i]
        boxes[image, i] = decoded(prior, location[image, i])
    filtered = np.where(objectness[:, :, 1:] < 0.3, [1.0, 0, 0], scores)
    bottoms = [location.reshape(n, -1), scores.reshape(n, -1), prior_blob(priors), objectness.reshape(n, -1)]
    bottoms += [anchors.reshape(n, -1)] * moved
    body = f"detection_output_param {{ {BODY} objectness_score: 0.3 }}"
    layer = make("DetectionOutput", body, [b.shape for b in bottoms])
    want = rows(boxes, filtered)
    assert want.shape[2] > 5
    assert np.allclose(run(layer, *bottoms), want, rtol=1e-7)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text(net_text(f'type: "DetectionOutput" {body}', bottoms))
    sdcaffe.Net(proto.read_net("net.prototxt")).save("net.caffemodel")
    assert main(["export", "net.prototxt", "net.caffemodel", "-o", "net.onnx"]) == 0
    import onnxruntime

    session = onnxruntime.InferenceSession("net.onnx", providers=["CPUExecutionProvider"])
    given = {f"b{i}": b.astype(np.float32) for i, b in enumerate(bottoms)}
    found = session.run(None, {one.name: given[one.name] for one in session.get_inputs()})[0]
    assert found.shape == want.shape
    assert np.allclose(found, want, rtol=1e-4, atol=1e-5)
    assert main(["convert", "module", "net.prototxt", "net.py"]) == 1


def test_without_the_two_bottoms_objectness_score_does_nothing():
    priors = some_priors(6)
    bottoms = [RANDOM.randn(1, 24), some_scores(1, 6, 3).reshape(1, -1), prior_blob(priors)]
    plain, scored = (make("DetectionOutput", f"detection_output_param {{ {BODY} {more} }}", [b.shape for b in bottoms])
                     for more in ("", "objectness_score: 0.9"))  # fmt: skip
    assert np.array_equal(run(plain, *bottoms), run(scored, *bottoms))


SIZES = [(2, 3, 2), (3, 1, 2)]  # ratios, height, width of two maps


def test_maps_that_were_not_permuted(tmp_path, monkeypatch):
    n, confidences, locations, priors, boxes, scores = 2, [], [], [], [], []
    for ratios, height, width in SIZES:
        score, offset = some_scores(n, ratios, height * width, 3), RANDOM.randn(n, ratios, 4, height, width)
        confidences.append(score.transpose(0, 3, 1, 2))
        locations.append(offset.reshape(n, ratios * 4, height, width))
        own = some_priors(height * width * ratios)
        priors.append(own)
        for r, y, x in np.ndindex(ratios, height, width):
            place = y * width + x
            boxes.append([decoded(own[place * ratios + r], offset[image, r, :, y, x]) for image in range(n)])
            scores.append(score[:, r, place])
    bottoms = [*confidences, *locations, prior_blob(np.concatenate(priors))]
    want = rows(np.array(boxes).transpose(1, 0, 2), np.array(scores).transpose(1, 0, 2))
    assert want.shape[2] > 5
    body = f"detection_output_param {{ {BODY} no_permute: true nbottom: 2 }}"
    layer = make("DetectionOutput", body, [b.shape for b in bottoms])
    assert np.allclose(run(layer, *bottoms), want, rtol=1e-7)
    agree_everywhere(tmp_path, monkeypatch, f'type: "DetectionOutput" {body}', bottoms, want, tolerance=1e-4)


@pytest.mark.parametrize("theta", [0.5, 0.05])
def test_soft_suppression(theta):
    priors = some_priors(40)
    location, scores = RANDOM.randn(1, 40, 4), some_scores(1, 40, 3)
    bottoms = [location.reshape(1, -1), scores.reshape(1, -1), prior_blob(priors)]
    body = BODY.replace("top_k: 20", f"top_k: 20 soft_nms: true theta: {theta}")
    layer = make("DetectionOutput", f"detection_output_param {{ {body} }}", [b.shape for b in bottoms])
    boxes = np.array([[decoded(prior, offset) for prior, offset in zip(priors, location[0], strict=True)]])
    want = rows(boxes, scores, soft(theta))
    assert np.allclose(run(layer, *bottoms), want, rtol=1e-7)
    assert want.shape != rows(boxes, scores).shape or not np.allclose(want, rows(boxes, scores))


def test_soft_suppression_is_not_exported(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    bottoms = [np.zeros((1, 8)), np.zeros((1, 6)), prior_blob(some_priors(2))]
    body = BODY.replace("top_k: 20", "soft_nms: true")
    (tmp_path / "net.prototxt").write_text(
        net_text(f'type: "DetectionOutput" detection_output_param {{ {body} }}', bottoms)
    )
    sdcaffe.Net(proto.read_net("net.prototxt")).save("net.caffemodel")
    assert main(["export", "net.prototxt", "net.caffemodel", "-o", "net.onnx"]) == 1
    assert "soft_nms cannot be exported" in capsys.readouterr().err
    assert main(["convert", "module", "net.prototxt", "net.py"]) == 1
    assert "soft_nms cannot be written" in capsys.readouterr().err


PRIOR = (1, 2, 8)
WRONG = [
    ("no_permute: true", [(1, 2, 1, 2), (1, 4, 1, 2), PRIOR], "nbottom: 6 needs 6 maps of confidences"),
    ("no_permute: true nbottom: 1", [(1, 2, 1, 2), (1, 6, 1, 2), PRIOR], "belong to offsets"),
    ("no_permute: true nbottom: 1", [(1, 2, 2, 2), (1, 4, 1, 2), PRIOR], "belong to offsets"),
    ("objectness_score: 0.1", [(1, 8), (1, 4), PRIOR, (1, 3)], "need 2 numbers of objectness each"),
    ("", [(1, 8), (1, 4), PRIOR, (1, 4), (1, 4)], "need 4 numbers of offsets each"),
    ("share_location: false", [(1, 16), (1, 4), PRIOR, (1, 4), (1, 8)], "need share_location: true"),
    ("nms_param { soft_nms: true theta: 0 }", [(1, 8), (1, 4), PRIOR], "theta must be above 0"),
]


@pytest.mark.parametrize(("body", "shapes", "message"), WRONG)
def test_what_is_refused(body, shapes, message):
    with pytest.raises(LayerError, match=message):
        make("DetectionOutput", f"detection_output_param {{ num_classes: 2 {body} }}", shapes)
