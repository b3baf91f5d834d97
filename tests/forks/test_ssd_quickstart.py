"""The quickstart's detector: its pictures are what their boxes say, and its evaluation is an independent one's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

import sdcaffe
from sdcaffe import proto
from sdcaffe.errors import DataError
from sdcaffe.forks.ssd.shapes import SIZE, Shapes

ROOT = Path(__file__).parents[2]
QUICKSTART = ROOT / "prototxt" / "quickstart_ssd"


def source(part):
    return Shapes(part, proto.DataParameter(source=f"shapes:{part}"), "native")


def test_pictures_have_one_to_three_shapes_of_both_sizes_and_all_classes():
    pictures = [source("train").picture(i) for i in range(100)]
    counts = [len(picture.labelled) for picture in pictures]
    assert set(counts) == {1, 2, 3}
    boxes = np.concatenate([picture.labelled.boxes for picture in pictures]) * SIZE
    sides = (boxes[:, 2:] - boxes[:, :2]).max(1)
    assert ((sides <= 18) | (sides >= 22)).all()
    assert 0.3 < (sides <= 18).mean() < 0.8
    labels = np.concatenate([picture.labelled.facts[:, 0] for picture in pictures])
    assert set(labels) == {1, 2, 3}
    assert (boxes >= 0).all()
    assert (boxes <= SIZE).all()


def test_a_picture_is_always_the_same_and_parts_share_none():
    again, first = source("train").picture(7), source("train").picture(7)
    assert np.array_equal(again.pixels, first.pixels)
    assert not np.array_equal(first.pixels, source("test").picture(7).pixels)
    with pytest.raises(DataError, match='"shapes" has no part "val"'):
        source("val")


def test_a_source_without_boxes_is_told(monkeypatch):
    net = sdcaffe.read_net(QUICKSTART / "train_val_ssd.prototxt")
    net.layer[0].data_param.source = "synthetic:train"
    with pytest.raises(DataError, match="this source has no boxes"):
        sdcaffe.Net(net, sdcaffe.TRAIN)


def test_the_deployed_net_has_the_trained_ones_weights():
    train = sdcaffe.Net(sdcaffe.read_net(QUICKSTART / "train_val_ssd.prototxt"), sdcaffe.TRAIN)
    deploy = sdcaffe.Net(sdcaffe.read_net(QUICKSTART / "deploy.prototxt"), sdcaffe.TEST)
    train.close()
    shapes = [{name: [tuple(b.shape) for b in blobs] for name, blobs in net.params.items()} for net in (train, deploy)]
    assert shapes[0] == shapes[1]


def voc_mean_average_precision(detections, truth, classes):
    """The mean of VOC 2007's average precision, of rows by item; overlaps are torchvision's."""
    found = []
    for label in classes:
        own = detections[detections[:, 1] == label]
        own = own[np.argsort(-own[:, 2], kind="stable")]
        boxes = truth[truth[:, 1] == label]
        taken = np.zeros(len(boxes), bool)
        right = np.zeros(len(own))
        for i, row in enumerate(own):
            here = np.flatnonzero(boxes[:, 0] == row[0])
            if len(here):
                overlap = box_iou(torch.tensor(row[None, 3:7]), torch.tensor(boxes[here, 3:7]))[0].numpy()
                best = here[overlap.argmax()]
                if overlap.max() >= 0.5 and not taken[best]:
                    right[i], taken[best] = 1, True
        recall = (right.cumsum() / len(boxes)).astype(np.float32).astype(float)
        precision = right.cumsum() / np.arange(1, len(own) + 1)
        found.append(np.mean([max(precision[recall >= t / 10], default=0) for t in range(11)]))
    return np.mean(found)


def evaluated_twice(solver):
    """The test phase's score, and an independent one of the same detections."""
    net = solver.test_nets[0]
    start = {layer: layer.cursor for layer in net.data_layers}
    solver.test_all()
    for layer, cursor in start.items():
        layer.cursor = cursor
    detections, truth = [], []
    for batch in range(solver.param.test_iter[0]):
        with torch.no_grad():
            blobs = net.compute(net.load(), keep=("detection_out", "label")).blobs
        for rows, name in ((detections, "detection_out"), (truth, "label")):
            own = blobs[name][0, 0].numpy().astype(np.float64)
            own[:, 0] += 1000 * batch
            rows.append(own[own[:, 1] >= 0])
    ours = dict(solver.test_scores[0])["detection_eval"]
    return ours, voc_mean_average_precision(np.concatenate(detections), np.concatenate(truth), (1, 2, 3))


def solver_of(monkeypatch, tmp_path, **settings):
    monkeypatch.chdir(ROOT)
    param = sdcaffe.read_solver(QUICKSTART / "solver_ssd.prototxt")
    param.snapshot_prefix = str(tmp_path / "ssd")
    for name, value in settings.items():
        setattr(param, name, value)
    return sdcaffe.Solver(param, device="cpu")


def test_the_evaluation_is_vocs_on_a_detector_that_has_learned_little(monkeypatch, tmp_path):
    solver = solver_of(monkeypatch, tmp_path)
    solver.param.test_iter[0] = 2
    solver.step(60)
    ours, independent = evaluated_twice(solver)
    assert 0.01 < ours < 0.7
    assert ours == pytest.approx(independent, abs=1e-4)
    solver.close()


@pytest.mark.slow
def test_it_learns_to_detect_in_minutes(monkeypatch, tmp_path):
    solver = solver_of(monkeypatch, tmp_path, snapshot_after_train=False)
    solver.solve()
    ours, independent = evaluated_twice(solver)
    assert ours >= 0.7
    assert ours == pytest.approx(independent, abs=1e-4)
    solver.close()
