"""SSD's lr_policy "plateau", by the rules of weiliu89/caffe@4817bf8: events, steps, lines, and a run that goes on."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from sdcaffe import layers, proto
from sdcaffe.errors import SolverError
from sdcaffe.log import parse_log
from sdcaffe.run import run
from sdcaffe.solver.rates import learning_rate, observed

NET = """
name: "small"
layer { name: "data" type: "Data" top: "x" top: "label"
  data_param { source: "synthetic:train/8" batch_size: 8 shuffle: true seed: 3 } transform_param { scale: 0.01 } }
layer { name: "fc" type: "InnerProduct" bottom: "x" top: "fc"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""
SOLVER = """
net: "net.prototxt" base_lr: 0.1 lr_policy: "plateau" gamma: 0.5 plateau_winsize: 3 plateau_winsize: 2 max_iter: 30
average_loss: 2 display: 1 random_seed: 3 snapshot: 12 solver_mode: CPU snapshot_prefix: "run"
"""


@pytest.fixture(autouse=True)
def known():
    layers.discover()


def solver(text):
    param = proto.SolverParameter()
    proto.parse(text, param, "solver")
    return param


def test_steps_come_where_the_loss_has_had_no_minimum_for_so_long():
    """Minima at iterations 0, 1 and 6; 3 iterations after that at 1 the first step, 2 after that at 6 the second."""
    param, steps, memory, found = solver(SOLVER), 0, {}, []
    for i, loss in enumerate([5, 4, 6, 4, 4.5, 5, 3.9, 4, 4, 4, 9, 9]):
        steps = observed(param, i, steps, loss, memory)
        found.append((steps, learning_rate(param, i, steps)))
    assert [step for step, _ in found] == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]
    assert [rate for _, rate in found] == pytest.approx([0.1] * 4 + [0.05] * 4 + [0.025] * 4)
    assert memory == {"minimum_loss": 3.9, "iter_last_event": 8}


def test_a_run_tells_its_steps_and_goes_on_as_if_it_had_not_stopped(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(NET)
    Path("solver.prototxt").write_text(SOLVER)
    (whole,) = run("solver.prototxt")
    text = Path("run.log").read_text()
    told = [(int(i), int(n)) for i, n in re.findall(r"Plateau Status: Iteration (\d+), step = (\d+)", text)]
    assert [n for _, n in told] == [1, 2]
    rows = [row for row in parse_log("run.log").train if not np.isnan(row.lr)]
    for row in rows:  # the rate of an iteration knows its own loss
        steps = sum(i <= row.iteration for i, _ in told)
        assert row.lr == pytest.approx(0.1 * 0.5**steps)
    least = re.search(r"Plateau Status: Iteration 0, current minimum_loss = (\S+)", text)
    assert float(least[1]) == pytest.approx(rows[0].loss, rel=1e-5)
    wanted = proto.read_state(whole.snapshot)
    for name in ("run_iter_30.solverstate", "run_iter_24.solverstate"):
        Path(name).unlink()
    (again,) = run("solver.prototxt", snapshot="auto")
    found = proto.read_state(again.snapshot)
    assert (found.sdcaffe_state, found.current_step) == (wanted.sdcaffe_state, 2)
    for ours, theirs in zip(found.history, wanted.history, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_window_below_zero_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(NET)
    Path("solver.prototxt").write_text(SOLVER.replace("plateau_winsize: 2", "plateau_winsize: -2"))
    with pytest.raises(SolverError, match="plateau_winsize is -2; it must be 0 or more"):
        run("solver.prototxt")
