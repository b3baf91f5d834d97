"""A test phase of eval_type "detection": scores and lines as the fork logged them."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch

import sdcaffe
from sdcaffe.errors import SolverError
from sdcaffe.forks.ssd.average_precision import VERSIONS, average_precision

FOLDER = Path(__file__).parent / "recordings" / "ssd" / "eval"
LOGGED = json.loads((FOLDER / "eval.json").read_text())


def solver_of(version, monkeypatch, **settings):
    monkeypatch.chdir(FOLDER)
    param = sdcaffe.read_solver(f"solver_{version}.prototxt")
    for name, value in settings.items():
        setattr(param, name, value)
    return sdcaffe.Solver(param, weights="weights.caffemodel", device="cpu")


def lines(caplog):
    return [record.getMessage().strip() for record in caplog.records]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_test_phase_is_logged_as_the_fork_logs_it(version, monkeypatch, caplog):
    with caplog.at_level(logging.INFO):
        solver = solver_of(version, monkeypatch)
        solver.test_all()
    found = lines(caplog)
    begin = next(i for i, line in enumerate(found) if "Testing net (#0)" in line)
    assert [line for line in found[begin + 1 :] if "class" in line or "Test net output" in line] == LOGGED[version][
        "lines"
    ]
    ((name, value),) = solver.test_scores[0]
    assert name == "detection_eval"
    assert value == pytest.approx(LOGGED[version]["mAP"], abs=1e-6)
    solver.close()


def test_the_rows_of_each_batch_are_the_forks(monkeypatch):
    solver = solver_of("Integral", monkeypatch)
    recorded = np.load(FOLDER / "evaluate.npz")
    net = solver.test_nets[0]
    for i in range(3):
        with torch.no_grad():
            blobs = net.compute(net.load(), keep=("detection_out", "detection_eval", "label")).blobs
        for name in ("label", "detection_out", "detection_eval"):
            assert blobs[name].shape == recorded[f"{name}_{i}"].shape
            assert np.allclose(blobs[name].numpy(), recorded[f"{name}_{i}"], atol=1e-5), name
    solver.close()


def test_an_ap_version_that_nobody_knows(monkeypatch):
    with pytest.raises(SolverError, match=r'unknown ap_version "12point". Did you mean "11point"'):
        solver_of("Integral", monkeypatch, ap_version="12point")


def test_outputs_of_other_layers_have_no_average_precision(monkeypatch):
    monkeypatch.chdir(FOLDER)
    param = sdcaffe.read_solver("solver_Integral.prototxt")
    net = sdcaffe.read_net("test_net.prototxt")
    del net.layer[-1]
    param.ClearField("test_net")
    param.test_net_param.add().CopyFrom(net)
    solver = sdcaffe.Solver(param, device="cpu")
    with pytest.raises(SolverError, match='needs outputs of DetectionEvaluate; "'):
        solver.test_all()
    solver.close()


def test_a_class_that_was_never_detected_counts_as_0_and_is_warned_of(monkeypatch, caplog):
    with caplog.at_level(logging.INFO):
        solver = solver_of("MaxIntegral", monkeypatch, show_per_class_result=False)
        detect = solver.test_nets[0].layers["detection_out"].param
        detect.confidence_threshold = 0.985
        solver.test_all()
    found = lines(caplog)
    missing = [line for line in found if line.startswith("Missing true_pos for label: ")]
    assert missing
    ((_, value),) = solver.test_scores[0]
    assert 0 < value < LOGGED["MaxIntegral"]["mAP"]
    solver.close()


def by_voc(scores, true, positives, version):
    """What VOC's development kits do; recall in float32, as a tenth of it may be met or not."""
    order = np.argsort(-scores, kind="stable")
    right = np.cumsum(true[order])
    recall, precision = (right / positives).astype(np.float32), right / np.arange(1, len(order) + 1)
    if version == "11point":
        return np.mean([max(precision[recall.astype(float) >= t / 10], default=0) for t in range(11)])
    ends, heights = np.r_[0, recall, 1], np.r_[0, precision, 0]
    for i in range(len(heights) - 1, 0, -1):
        heights[i - 1] = max(heights[i - 1], heights[i])
    steps = np.flatnonzero(ends[1:] != ends[:-1])
    return ((ends[steps + 1] - ends[steps]) * heights[steps + 1]).sum()


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_is_vocs(seed):
    random = np.random.RandomState(seed)
    scores = random.permutation(np.linspace(0, 1, 200)).astype(np.float32)
    true = random.rand(200) < scores
    positives = int(true.sum()) + seed * 7
    assert average_precision(scores, true, positives, "11point") == pytest.approx(
        by_voc(scores, true, positives, "11point"), abs=1e-6
    )
    # VOC 2012 takes each step of recall at the height of its end; the fork from where the step before it ended.
    ours = average_precision(scores, true, positives, "MaxIntegral")
    assert ours == pytest.approx(by_voc(scores, true, positives, "area"), abs=0.02)
