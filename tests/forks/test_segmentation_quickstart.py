"""The quickstart's segmentation net: it learns, is measured as an independent count does, and runs in ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

import sdcaffe
from sdcaffe.cli import main
from sdcaffe.data.opening import open_source

ROOT = Path(__file__).parents[2]
FOLDER = "prototxt/quickstart_segmentation"
QUICKSTART = ROOT / FOLDER


def solver_of(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    sdcaffe.discover()
    param = sdcaffe.read_solver(QUICKSTART / "solver_segmentation.prototxt")
    param.snapshot_prefix = str(tmp_path / "segmentation")
    return sdcaffe.Solver(param, device="cpu")


def mean_overlap(net, first, count):
    """The mean over the classes of intersection over union, of test pictures `first` to first + count - 1."""
    source = open_source("shapes:test")
    inside, union = np.zeros(4), np.zeros(4)
    for start in range(first, first + count, 50):
        pairs = [source.pair(i) for i in range(start, min(start + 50, first + count))]
        pixels = np.stack([pair.pixels for pair in pairs]).astype(np.float32)
        called = net({"data": (pixels - 127.5) / 64})["prob"].detach().numpy().argmax(1)
        real = np.stack([pair.labels[0] for pair in pairs])
        for c in range(4):
            inside[c] += ((called == c) & (real == c)).sum()
            union[c] += ((called == c) | (real == c)).sum()
    return (inside / union).mean()


def deployed(weights):
    return sdcaffe.Net(str(QUICKSTART / "deploy.prototxt"), sdcaffe.TEST, str(weights))


def exported_agrees(monkeypatch, tmp_path, weights, pictures):
    """ONNX Runtime's answer on test pictures of the file that `export` writes, against the net's own."""
    monkeypatch.chdir(ROOT)
    target = str(tmp_path / "net.onnx")
    data = f"{FOLDER}/train_val_segmentation.prototxt"
    assert main(["export", f"{FOLDER}/deploy.prototxt", str(weights), "-o", target, "--data", data]) == 0
    source = open_source("shapes:test")
    pixels = np.stack([source.pair(i).pixels for i in range(pictures)]).astype(np.float32)
    given = (pixels - 127.5) / 64
    session = onnxruntime.InferenceSession(target, providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: given})[0]
    assert np.abs(found - deployed(weights)({"data": given})["prob"].detach().numpy()).max() < 1e-5


def test_a_short_training_learns_is_saved_and_exported(monkeypatch, tmp_path):
    solver = solver_of(monkeypatch, tmp_path)
    before = solver.net.compute(solver.net.load()).loss.item()
    solver.step(25)
    after = solver.net.compute(solver.net.load()).loss.item()
    assert after < 0.7 * before
    solver.net.save(tmp_path / "w.caffemodel")
    net = solver.test_nets[0]
    with torch.no_grad():
        blobs = net.compute(net.load(), keep=("measures", "scores", "label")).blobs
    called, real = blobs["scores"].numpy().argmax(1), blobs["label"].numpy()[:, 0]
    own = [((called == c) & (real == c)).sum() / ((called == c) | (real == c)).sum() for c in range(4)]
    assert blobs["measures"].flatten().tolist()[2] == pytest.approx(np.mean(own), abs=1e-6)
    solver.close()
    exported_agrees(monkeypatch, tmp_path, tmp_path / "w.caffemodel", 3)


def test_weights_have_the_blobs_of_pspnets_caffe(tmp_path):
    train = sdcaffe.Net(sdcaffe.read_net(QUICKSTART / "train_val_segmentation.prototxt"), sdcaffe.TRAIN)
    train.save(tmp_path / "w.caffemodel")
    shapes = {name: [tuple(blob.shape) for blob in blobs] for name, blobs in train.params.items()}
    train.close()
    assert shapes["conv1/bn"] == [(1, 16, 1, 1)] * 4
    found = deployed(tmp_path / "w.caffemodel").params
    assert {name: [tuple(blob.shape) for blob in blobs] for name, blobs in found.items()} == shapes


@pytest.mark.slow
def test_it_learns_to_segment_in_minutes(monkeypatch, tmp_path):
    solver = solver_of(monkeypatch, tmp_path)
    solver.solve()
    solver.close()
    weights = tmp_path / "segmentation_iter_800.caffemodel"
    assert mean_overlap(deployed(weights), 0, 500) >= 0.8
    exported_agrees(monkeypatch, tmp_path, weights, 50)
