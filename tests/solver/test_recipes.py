"""Warm-up, cosine, AdamW and averaged weights, each against its definition or torch's own, also where a run goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import sdcaffe
from sdcaffe import proto
from sdcaffe.cli import main
from sdcaffe.errors import SnapshotError, SolverError
from sdcaffe.solver.rates import learning_rate

NET = """
name: "small"
layer { name: "data" type: "Data" top: "x" top: "label"
  data_param { source: "synthetic:train" batch_size: 16 shuffle: true seed: 3 } transform_param { scale: 0.01 } }
layer { name: "conv" type: "Convolution" bottom: "x" top: "conv"
  convolution_param { num_output: 4 kernel_size: 5 stride: 4 bias_term: false weight_filler { type: "xavier" } } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc" param { lr_mult: 1 } param { lr_mult: 2 decay_mult: 0 }
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
layer { name: "accuracy" type: "Accuracy" bottom: "fc" bottom: "label" top: "accuracy" include { phase: TEST } }
"""
SOLVER = """
net: "net.prototxt" base_lr: 0.05 max_iter: 8 momentum: 0.9 weight_decay: 0.01 random_seed: 5
snapshot: 5 display: 1 test_iter: 2 test_interval: 4 solver_mode: CPU snapshot_prefix: "run"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text(NET)
    return tmp_path


def write(more):
    policy = "" if "lr_policy" in more else 'lr_policy: "fixed"'
    Path("solver.prototxt").write_text(f"{SOLVER} {policy} {more}")


def rates(text, count):
    param = proto.SolverParameter()
    proto.parse(text, param, "solver")
    return [learning_rate(param, i, 0) for i in range(count)]


def torchs(schedule, count):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.5)
    scheduler, found = schedule(optimizer), []
    for _ in range(count):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_cosine_is_torchs_with_restarts_and_without():
    text = 'base_lr: 0.5 lr_policy: "cosine" max_iter: 20 '
    lr = torch.optim.lr_scheduler
    assert rates(text, 20) == pytest.approx(torchs(lambda o: lr.CosineAnnealingLR(o, 20), 20), abs=1e-7)
    restarts = torchs(lambda o: lr.CosineAnnealingWarmRestarts(o, 7), 20)
    assert rates(text + "stepsize: 7", 20) == pytest.approx(restarts, abs=1e-7)


def test_a_warm_up_rises_to_base_lr_before_any_policy():
    """Intel Caffe's line; its policies count the iterations of the warm-up, but take no steps in it."""
    text = "base_lr: 0.5 warmup_iter: 4 warmup_start: 0.1 max_iter: 8 "
    line = [0.1, 0.2, 0.3, 0.4]
    assert rates(text + 'lr_policy: "fixed"', 6) == pytest.approx([*line, 0.5, 0.5])
    assert rates(text + 'lr_policy: "poly" power: 1', 8) == pytest.approx([*line, 0.25, 0.1875, 0.125, 0.0625])
    write('lr_policy: "multistep" gamma: 0.1 stepvalue: 2 stepvalue: 6 warmup_iter: 4')
    solver = sdcaffe.Solver("solver.prototxt")
    seen = []
    for _ in range(8):
        seen.append(solver.lr)
        solver.step(1)
    assert seen == pytest.approx([0, 0.0125, 0.025, 0.0375, 0.005, 0.005, 0.0005, 0.0005])


@pytest.mark.parametrize("decay", [0.01, 0.0])
def test_adamw_is_torchs(decay):
    write('type: "AdamW" momentum2: 0.99 delta: 1e-4 lr_policy: "cosine"')
    text = Path("solver.prototxt").read_text()
    Path("solver.prototxt").write_text(text.replace("weight_decay: 0.01", f"weight_decay: {decay}"))
    solver, reference = (sdcaffe.Solver("solver.prototxt") for _ in range(2))
    learnable = [item for item in reference.net.learnable if item.lr_mult]
    groups = [{"params": [i.tensor], "lr": 0.05 * i.lr_mult, "weight_decay": decay * i.decay_mult} for i in learnable]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.99), eps=1e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 8)
    for _ in range(8):
        solver.step(1)
        optimizer.zero_grad()
        reference.net.compute(reference.net.load()).loss.backward()
        optimizer.step()
        scheduler.step()
    for item, wanted in zip([i for i in solver.net.learnable if i.lr_mult], learnable, strict=True):
        np.testing.assert_allclose(item.tensor.detach(), wanted.tensor.detach(), rtol=1e-4, atol=1e-6)


def blobs(path):
    return [blob.astype(np.float64) for entry in proto.read_weights(path) for blob in entry.blobs]


def test_averaged_weights_are_tested_and_both_are_saved():
    """The averages of all blobs in float64, the norm's statistics among them; the test's scores are of these."""
    write("ema_decay: 0.7")
    solver = sdcaffe.Solver("solver.prototxt")
    average = [blob.detach().double().numpy() for blobs in solver.net.params.values() for blob in blobs]
    for _ in range(8):
        solver.step(1)
        now = [blob.detach().double().numpy() for blobs in solver.net.params.values() for blob in blobs]
        average = [0.7 * a + 0.3 * b for a, b in zip(average, now, strict=True)]
    solver.test_all()
    solver.snapshot()
    for saved, wanted in zip(blobs("run_iter_8.caffemodel"), now, strict=True):
        np.testing.assert_array_equal(saved, wanted)
    for saved, wanted in zip(blobs("run_iter_8_ema.caffemodel"), average, strict=True):
        np.testing.assert_allclose(saved, wanted, rtol=1e-5, atol=1e-7)
    net = sdcaffe.Net("net.prototxt", sdcaffe.TEST, weights="run_iter_8_ema.caffemodel")
    net.data_layers[0].cursor = 4  # the tests at iterations 0 and 4 took two batches each
    with torch.no_grad():
        losses = [float(net.forward()["loss"]) for _ in range(2)]
    assert dict(solver.test_scores[0])["loss"] == pytest.approx(np.mean(losses), rel=1e-5)


@pytest.mark.parametrize("more", ["", "snapshot_format: HDF5", 'type: "AdamW"', 'lr_policy: "cosine"'])
def test_a_run_that_goes_on_ends_as_one_that_was_not_stopped(folder, capsys, more):
    write(f"ema_decay: 0.7 warmup_iter: 3 {more}")
    ending = ".h5" if "HDF5" in more else ""
    assert main(["train", "solver.prototxt"]) == 0
    names = [f"run_iter_8{name}{ending}" for name in (".caffemodel", "_ema.caffemodel")]
    assert f"averaged weights, which were tested: {names[1]}\n" in capsys.readouterr().out
    before = [blobs(name) for name in names]
    scores = (folder / "run.log").read_text().split("Test net output")[-2:]
    for path in folder.glob("run_iter_8*"):
        path.unlink()
    assert main(["train", "solver.prototxt", "--snapshot", "auto"]) == 0
    for name, wanted in zip(names, before, strict=True):
        for ours, theirs in zip(blobs(name), wanted, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert [s.split("\n")[0] for s in (folder / "run.log").read_text().split("Test net output")[-2:]] == [
        s.split("\n")[0] for s in scores
    ]


def test_a_snapshot_asked_for_in_a_test_holds_the_weights_and_not_the_averages():
    write("ema_decay: 0.7")
    solver = sdcaffe.Solver("solver.prototxt")
    solver.step(3)
    solver.snapshot()
    asked = iter([None, "snapshot"])
    solver.action = lambda: next(asked)
    solver.param.snapshot_prefix = "during"
    solver.test_all()
    for kind in ("", "_ema"):
        for ours, theirs in zip(
            blobs(f"during_iter_3{kind}.caffemodel"), blobs(f"run_iter_3{kind}.caffemodel"), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)


def test_averages_begin_where_a_state_has_none_and_foreign_ones_are_refused():
    write("")
    solver = sdcaffe.Solver("solver.prototxt")
    solver.step(2)
    state = solver.snapshot()
    write("ema_decay: 0.7")
    solver = sdcaffe.Solver("solver.prototxt")
    solver.restore(state)
    solver.snapshot()
    for ours, theirs in zip(blobs("run_iter_2_ema.caffemodel"), blobs("run_iter_2.caffemodel"), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    solver.step(2)
    state = solver.snapshot()
    Path("run_iter_4_ema.caffemodel").write_bytes(Path("run_iter_2_ema.caffemodel").read_bytes())
    with pytest.raises(SnapshotError, match=r"run_iter_4_ema\.caffemodel is not the file of averaged weights"):
        solver.restore(state)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("ema_decay: 1", r"ema_decay must lie in \[0, 1\), not 1"),
        ("warmup_iter: -1", "warmup_iter is -1; it must be 0 or more"),
        ("warmup_start: inf", "warmup_start is inf; it must be a finite number"),
        ('type: "AdamW" momentum2: 1', r"AdamW needs a momentum2 in \[0, 1\), not 1"),
        ('type: "AdamW" regularization_type: "L1"', "AdamW's weight decay is L2's"),
        ('stepsize: 0 lr_policy: "cosine"', 'lr_policy "cosine" needs a stepsize above 0'),
    ],
)
def test_settings_without_meaning_are_refused(more, message):
    write(more)
    with pytest.raises(SolverError, match=message):
        sdcaffe.run.run("solver.prototxt")
