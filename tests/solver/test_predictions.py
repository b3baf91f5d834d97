"""What a test says of its predictions, held against the written-out formulas in float64 numpy, image by image."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from sdcaffe import Net, Solver, cli, proto
from sdcaffe.errors import SolverError
from sdcaffe.log import parse_log, setup
from sdcaffe.solver.predictions import Judged


def drawn(n, classes, sharp, seed=0):
    """Logits that know something of their labels, and too little or too much of themselves."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes)).astype(np.float32)
    logits[np.arange(n), labels] += 1.5
    return sharp * logits.astype(np.float64), labels


def probabilities(logits, temperature=1.0):
    powers = np.exp(logits / temperature - (logits / temperature).max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def log_loss(logits, labels, temperature=1.0):
    p = probabilities(logits, temperature)
    return float(np.mean([-math.log(p[i, label]) for i, label in enumerate(labels)]))


def expected_calibration_error(logits, labels):
    """Guo et al. (2017), Eq. 3: bins (k/15, (k + 1)/15], each with its accuracy, its confidence and its size."""
    p = probabilities(logits)
    total = 0.0
    for k in range(15):
        inside = [i for i in range(len(p)) if k / 15 < p[i].max() <= (k + 1) / 15]
        if inside:
            accuracy = sum(int(p[i].argmax() == labels[i]) for i in inside) / len(inside)
            confidence = sum(p[i].max() for i in inside) / len(inside)
            total += len(inside) / len(p) * abs(accuracy - confidence)
    return total


def best_temperature(logits, labels):
    """By a grid that is refined four times: no slope is used."""
    low, high = math.log(0.02), math.log(50)
    for _ in range(6):
        grid = np.linspace(low, high, 41)
        best = int(np.argmin([log_loss(logits, labels, math.exp(t)) for t in grid]))
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, 40)]
    return math.exp((low + high) / 2)


@pytest.mark.parametrize("sharp", [0.4, 1.0, 4.0])
def test_scores_are_the_formulas(sharp):
    logits, labels = drawn(301, 9, sharp)
    found = dict(Judged(torch.from_numpy(logits), torch.from_numpy(labels)).scores())
    order = np.argsort(-logits, axis=1)
    assert found["error"] == pytest.approx(np.mean(order[:, 0] != labels))
    assert found["top_5_error"] == pytest.approx(
        np.mean([label not in row[:5] for row, label in zip(order, labels, strict=True)])
    )
    assert found["nll"] == pytest.approx(log_loss(logits, labels), rel=1e-12)
    assert found["ece"] == pytest.approx(expected_calibration_error(logits, labels), rel=1e-9)
    even, odd = (logits[::2], labels[::2]), (logits[1::2], labels[1::2])
    warm = best_temperature(*even), best_temperature(*odd)
    assert found["temperature_even"] == pytest.approx(warm[0], rel=1e-4)
    assert found["temperature_odd"] == pytest.approx(warm[1], rel=1e-4)
    assert found["nll_scaled_even"] == pytest.approx(log_loss(*even, warm[1]), rel=1e-6)
    assert found["nll_scaled_odd"] == pytest.approx(log_loss(*odd, warm[0]), rel=1e-6)
    whole = (151 * log_loss(*even, warm[1]) + 150 * log_loss(*odd, warm[0])) / 301
    assert found["nll_scaled"] == pytest.approx(whole, rel=1e-6)
    assert found["nll_scaled"] < found["nll"] or sharp == 1.0


def test_confusion_counts_images():
    logits, labels = drawn(50, 4, 1.0)
    counts = Judged(torch.from_numpy(logits), torch.from_numpy(labels)).confusion()
    expected = np.zeros((4, 4), int)
    for row, label in zip(logits, labels, strict=True):
        expected[label, row.argmax()] += 1
    assert counts.tolist() == expected.tolist()


def test_a_tie_is_an_error_and_certainty_loses_nothing():
    tie = Judged(torch.zeros(4, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 0]))
    assert dict(tie.scores())["error"] == 1
    assert "top_5_error" not in dict(tie.scores())
    certain = Judged(50 * torch.eye(4, dtype=torch.float64), torch.arange(4))
    assert dict(certain.scores())["nll_scaled"] == pytest.approx(0, abs=1e-15)


NET = """
name: "small"
layer { name: "data" type: "Data" top: "image" top: "label" data_param { source: "synthetic:test" batch_size: 10 } }
layer { name: "pool" type: "Pooling" bottom: "image" top: "pool" pooling_param { pool: AVE kernel_size: 8 stride: 8 } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc"
  inner_product_param { num_output: 10 weight_filler { type: "gaussian" std: 0.01 } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
layer { name: "accuracy" type: "Accuracy" bottom: "fc" bottom: "label" top: "accuracy" include { phase: TEST } }
"""
SOLVER = """
base_lr: 0.0001 lr_policy: "fixed" max_iter: 3 test_iter: 6 test_interval: 3 test_initialization: false
random_seed: 1 test_metrics: true snapshot_prefix: "run"
"""


def solver_param(more=""):
    param = proto.SolverParameter()
    proto.text.parse(SOLVER + more, param, "solver")
    proto.text.parse(NET, param.net_param, "net")
    return param


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """The log of three iterations, and logits and labels of the 60 images that were tested behind them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text(NET)
    with setup("log"):
        solver = Solver(solver_param())
        solver.solve()
        solver.close()
    net = Net("net.prototxt", weights="run_iter_3.caffemodel")
    blobs = [net.forward(keep=["fc", "label"]) for _ in range(6)]
    net.close()
    logits = torch.cat([each["fc"] for each in blobs]).detach().double().numpy()
    return logits, torch.cat([each["label"] for each in blobs]).long().numpy()


def test_a_solver_with_test_metrics_logs_them_behind_the_outputs(trained):
    logits, labels = trained
    (row,) = parse_log("log").test
    assert list(row.outputs)[:5] == ["accuracy", "loss", "error", "top_5_error", "nll"]
    assert row.outputs["error"] == pytest.approx(1 - row.outputs["accuracy"], abs=1e-6)
    assert row.outputs["nll"] == pytest.approx(log_loss(logits, labels), rel=1e-4)
    assert row.outputs["ece"] == pytest.approx(expected_calibration_error(logits, labels), rel=1e-3)


def test_the_command_says_them_and_writes_classes_and_confusion(trained, capsys):
    logits, labels = trained
    command = ["test", "net.prototxt", "--weights", "run_iter_3.caffemodel", "--iterations", "6"]
    assert cli.main([*command, "--metrics", "--csv", "classes.csv", "--confusion", "confusion.csv"]) == 0
    (row,) = parse_log(capsys.readouterr().err).test
    assert row.outputs["nll"] == pytest.approx(log_loss(logits, labels), rel=1e-4)
    chosen = logits.argmax(1)
    lines = Path("classes.csv").read_text().splitlines()
    assert lines[0] == "class,name,images,errors,error"
    names = ("disc", "ring", "square", "frame", "triangle", "plus", "cross", "crescent", "star", "corner")
    assert cli.main([*command, "--csv", "-"]) == 0
    assert capsys.readouterr().out.splitlines() == lines
    for label, (line, name) in enumerate(zip(lines[1:], names, strict=True)):
        images, wrong = int((labels == label).sum()), int((chosen[labels == label] != label).sum())
        assert line == f"{label},{name},{images},{wrong},{wrong / images:.6g}"
    assert Path("confusion.csv").read_text().startswith(",".join(["class", *names]))
    table = [line.split(",")[1:] for line in Path("confusion.csv").read_text().splitlines()[1:]]
    assert sum(int(number) for row in table for number in row) == 60
    assert int(table[3][chosen[labels == 3][0]]) >= 1
    assert cli.main([*command, "--confusion", "confusion.png"]) == 0
    assert Path("confusion.png").read_bytes()[:4] == b"\x89PNG"
    assert cli.main([*command, "--confusion", "confusion.gif"]) == 2
    assert ".csv, .png, .svg, .pdf" in capsys.readouterr().err


def test_what_has_no_class_scores_has_no_metrics(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    param = solver_param()
    del param.net_param.layer[3]
    with setup("log"), pytest.raises(SolverError, match="has no SoftmaxWithLoss in the phase TEST"):
        Solver(param).test_all()
    with setup("log"), pytest.raises(SolverError, match='they go with no eval_type "detection"'):
        Solver(solver_param('eval_type: "detection"'))
