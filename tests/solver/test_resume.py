"""A run that is killed goes on from its last snapshot to the very weights of a run that was not."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import sdcaffe
from sdcaffe import proto
from sdcaffe.errors import SdcaffeError, SnapshotError

NET = """
name: "small"
layer { name: "data" type: "Data" top: "images" top: "label" include { phase: TRAIN }
  data_param { source: "synthetic:train" batch_size: 32 shuffle: true } }
layer { name: "data" type: "Data" top: "images" top: "label" include { phase: TEST }
  data_param { source: "synthetic:test" batch_size: 50 } }
layer { name: "distort" type: "Distort" bottom: "images" top: "a"
  distort_param { pad: 4 crop_size: 32 mirror: true mean_value: 128 std_value: 64 } }
layer { name: "conv1" type: "Convolution" bottom: "a" top: "conv1"
  convolution_param { num_output: 8 kernel_size: 3 stride: 4 weight_filler { type: "msra" } } }
layer { name: "bn" type: "BatchNorm" bottom: "conv1" top: "conv1" }
layer { name: "scale" type: "Scale" bottom: "conv1" top: "conv1" scale_param { bias_term: true } }
layer { name: "relu" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "drop" type: "Dropout" bottom: "conv1" top: "conv1" }
layer { name: "fc" type: "InnerProduct" bottom: "conv1" top: "fc"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
layer { name: "accuracy" type: "Accuracy" bottom: "fc" bottom: "label" top: "accuracy" include { phase: TEST } }
"""
SOLVER = """
net: "net.prototxt" type: "Nesterov" base_lr: 0.05 lr_policy: "multistep" gamma: 0.1 stepvalue: 60 momentum: 0.9
weight_decay: 0.0001 max_iter: 90 display: 1 average_loss: 10 snapshot: 7 snapshot_prefix: "{prefix}"
test_iter: 2 test_interval: 20 solver_mode: CPU random_seed: 5
"""


def write_run(folder, prefix):
    (folder / "net.prototxt").write_text(NET)
    solver = folder / f"{prefix}.prototxt"
    solver.write_text(SOLVER.replace("{prefix}", prefix))
    return solver


def train(folder, prefix, *flags):
    command = [sys.executable, "-m", "sdcaffe", "train", f"{prefix}.prototxt", *flags]
    return subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def weights_of(path):
    return {entry.name: entry.blobs for entry in proto.read_weights(path)}


def test_kill_9_at_a_random_iteration_changes_nothing(tmp_path):
    write_run(tmp_path, "whole")
    write_run(tmp_path, "killed")
    whole = train(tmp_path, "whole")
    killed = train(tmp_path, "killed")
    victim = random.SystemRandom().randrange(8, 85)
    deadline = time.monotonic() + 120
    log = tmp_path / "killed.log"
    while time.monotonic() < deadline and killed.poll() is None:
        if log.exists() and f"Iteration {victim} (" in log.read_text():
            killed.send_signal(signal.SIGKILL)
            break
        time.sleep(0.005)
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL, f"it should have been killed at iteration {victim}"
    _, err = whole.communicate(timeout=120)
    assert whole.returncode == 0, err
    resumed = train(tmp_path, "killed", "--snapshot", "auto")
    _, err = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, err
    want = weights_of(tmp_path / "whole_iter_90.caffemodel")
    have = weights_of(tmp_path / "killed_iter_90.caffemodel")
    assert have.keys() == want.keys()
    for name, blobs in want.items():
        for a, b in zip(have[name], blobs, strict=True):
            np.testing.assert_array_equal(a, b, err_msg=f"{name}, killed at iteration {victim}")
    history = [proto.read_state(tmp_path / f"{p}_iter_90.solverstate").history for p in ("whole", "killed")]
    for a, b in zip(*history, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A solver after 14 iterations, with the snapshots of iterations 7 and 14."""
    monkeypatch.chdir(tmp_path)
    solver = sdcaffe.Solver(write_run(tmp_path, "snap"))
    solver.step(14)
    yield solver
    solver.close()


@pytest.mark.parametrize("format", ["BINARYPROTO", "HDF5"])
def test_a_step_at_a_time_or_through_a_snapshot_is_the_same(tmp_path, monkeypatch, format):
    monkeypatch.chdir(tmp_path)
    path = write_run(tmp_path, "snap")
    path.write_text(path.read_text() + f"snapshot_format: {format}\n")
    first = sdcaffe.Solver(path)
    first.step(9)
    state = first.snapshot()
    first.step(6)
    second = sdcaffe.Solver(path)
    second.step(1)  # somewhere else before it resumes
    second.restore(state)
    second.step(6)
    assert second.loss == first.loss
    for a, b in zip(first.net.learnable, second.net.learnable, strict=True):
        assert (a.tensor == b.tensor).all()
    first.close()
    second.close()


@pytest.mark.parametrize("suffix", ["solverstate", "caffemodel"])
def test_a_truncated_snapshot_is_refused_and_auto_takes_the_one_before(run, tmp_path, suffix):
    path = tmp_path / f"snap_iter_14.{suffix}"
    whole = path.read_bytes()
    for size in [0, 1, 7, *np.linspace(8, len(whole) - 1, 12).astype(int)]:
        path.write_bytes(whole[:size])
        with pytest.raises(SdcaffeError, match="snap_iter_14"):
            run.restore(tmp_path / "snap_iter_14.solverstate")
        assert run.iter == 14, "a refused snapshot leaves the solver as it was"
    assert run.restore_newest().name == "snap_iter_7.solverstate"
    assert run.iter == 7


def test_restore_says_what_a_file_is_not(run, tmp_path):
    with pytest.raises(SnapshotError, match="caffemodel"):
        run.restore(tmp_path / "snap_iter_7.caffemodel")
    with pytest.raises(SdcaffeError, match=r"missing\.solverstate"):
        run.restore(tmp_path / "missing.solverstate")
    param = proto.read_solver(tmp_path / "snap.prototxt")
    param.type = "Adam"
    adam = sdcaffe.Solver(param)
    with pytest.raises(SnapshotError, match=r"Nesterov.*Adam"):
        adam.restore(tmp_path / "snap_iter_7.solverstate")
    adam.close()


def test_no_snapshot_leaves_the_solver_where_it_began(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    solver = sdcaffe.Solver(write_run(tmp_path, "none"))
    assert solver.restore_newest() is None
    assert solver.iter == 0
    solver.close()


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_layer(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_run(tmp_path, "nan")
    path.write_text(path.read_text().replace("base_lr: 0.05", "base_lr: 1e20"))
    solver = sdcaffe.Solver(path)
    with pytest.raises(sdcaffe.errors.SolverError, match=r'iteration \d+.*"(conv1|bn|fc|loss)"'):
        solver.step(7)
    assert not list(tmp_path.glob("*.solverstate"))
    solver.close()


RECURRENT = """
layer { name: "x" type: "DummyData" top: "x" top: "cont" dummy_data_param {
  shape { dim: 3 dim: 2 dim: 4 } shape { dim: 3 dim: 2 }
  data_filler { type: "gaussian" std: 1 } data_filler { value: 1 } } }
layer { name: "lstm" type: "LSTM" bottom: "x" bottom: "cont" top: "h"
  recurrent_param { num_output: 5 weight_filler { type: "uniform" min: -0.5 max: 0.5 } bias_filler { value: 0.1 } } }
layer { name: "goal" type: "Power" bottom: "h" top: "goal" power_param { scale: 0 shift: 1 } }
layer { name: "loss" type: "EuclideanLoss" bottom: "h" bottom: "goal" top: "loss"
  propagate_down: true propagate_down: false }
"""


def test_what_an_lstm_carries_between_batches_is_resumed(tmp_path):
    param = proto.SolverParameter()
    text = 'base_lr: 0.5 lr_policy: "fixed" type: "SGD" solver_mode: CPU random_seed: 3 max_iter: 20'
    proto.text.parse(f'{text} snapshot_prefix: "{tmp_path}/lstm"', param, "solver")
    proto.text.parse(RECURRENT, param.net_param, "net")
    first = sdcaffe.Solver(param)
    first.step(4)
    state = first.snapshot()
    first.step(3)
    second = sdcaffe.Solver(param)
    second.restore(state)
    second.step(3)
    assert second.loss == first.loss
    for a, b in zip(first.net.learnable, second.net.learnable, strict=True):
        assert (a.tensor == b.tensor).all()


def test_auto_refuses_to_begin_anew_over_a_run_of_another_net(run, tmp_path):
    before = {path.name: path.read_bytes() for path in tmp_path.glob("snap_iter_*")}
    (tmp_path / "net.prototxt").write_text(NET.replace("num_output: 10", "num_output: 11"))
    other = sdcaffe.Solver(tmp_path / "snap.prototxt")
    with pytest.raises(SdcaffeError, match=r"history blob \d+ has shape \(10, \d+\)"):
        other.restore_newest()
    other.close()
    assert {path.name: path.read_bytes() for path in tmp_path.glob("snap_iter_*")} == before


def test_auto_takes_the_run_that_wrote_last(run, tmp_path):
    later = sdcaffe.Solver(tmp_path / "snap.prototxt")
    later.step(7)
    assert later.restore_newest().name == "snap_iter_7.solverstate", "not iteration 14 of the run before"
    later.close()


def test_auto_takes_the_run_that_wrote_last_though_the_clock_has_jumped_back(run, tmp_path):
    tomorrow = time.time() + 86_400
    for path in tmp_path.glob("snap_iter_*"):
        os.utime(path, (tomorrow, tomorrow))
    run.step(7)
    assert run.restore_newest().name == "snap_iter_21.solverstate"


def test_weights_of_another_snapshot_are_not_taken_for_a_states(run, tmp_path):
    state, weights = tmp_path / "snap_iter_14.solverstate", tmp_path / "snap_iter_14.caffemodel"
    weights.write_bytes((tmp_path / "snap_iter_7.caffemodel").read_bytes())
    with pytest.raises(SnapshotError, match="not the weights file that was written with it"):
        run.restore(state)


def test_weights_that_are_not_finite_are_not_snapshotted(run, tmp_path):
    run.net.params["fc"][0].data[0, 0] = float("inf")
    with pytest.raises(sdcaffe.errors.SolverError, match="The snapshot of iteration 14 is kept"):
        run.snapshot()
    assert run.restore_newest().name == "snap_iter_14.solverstate"


def test_a_stop_in_the_middle_of_a_test_leaves_the_test_where_it_began(run):
    cursor = run.test_nets[0].data_layers[0].cursor
    run.action = iter(["snapshot", "stop"]).__next__
    run.test_all()
    assert run.test_nets[0].data_layers[0].cursor == cursor


# ---- The steps that a state has taken: every rate below is one that BVLC Caffe 1.0 logged ----

MULTISTEP = 'lr_policy: "multistep" stepvalue: '
STATES = {  # how the run went that wrote the state at iteration 6, and the current_step it wrote
    "multistep": (MULTISTEP + "2 stepvalue: 4", 2),
    "fixed": ('lr_policy: "fixed"', 0),
}
RESUMED = {
    "moved ahead": ("multistep", MULTISTEP + "8 stepvalue: 10", [0.125] * 6),
    "dropped": ("multistep", MULTISTEP + "2", [0.125, 0.125]),
    "added": ("multistep", MULTISTEP + "2 stepvalue: 4 stepvalue: 5 stepvalue: 7", [0.0625, 0.03125, 0.03125]),
    "from fixed": ("fixed", MULTISTEP + "2 stepvalue: 4 stepvalue: 7", [0.25, 0.125, 0.0625, 0.0625]),
    "step looks away": ("multistep", 'lr_policy: "step" stepsize: 4', [0.25, 0.25, 0.125]),
}
LINE = """
layer { name: "d" type: "DummyData" top: "x" top: "y" dummy_data_param {
  shape { dim: 2 dim: 3 } shape { dim: 2 dim: 1 } data_filler { type: "constant" value: 1 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip" inner_product_param { num_output: 1 } }
layer { name: "l" type: "EuclideanLoss" bottom: "ip" bottom: "y" top: "l" }
"""


def stepper(text, **more):
    param = proto.SolverParameter()
    proto.text.parse(f"base_lr: 0.5 gamma: 0.5 solver_mode: CPU {text}", param, "solver.prototxt")
    param.MergeFrom(proto.SolverParameter(**more))
    proto.text.parse(LINE, param.net_param, "net.prototxt")
    return sdcaffe.Solver(param)


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@pytest.mark.parametrize("hdf5", [False, True])
@pytest.mark.parametrize("case", RESUMED)
def test_resume_goes_on_from_the_steps_that_the_state_has_taken(tmp_path, kind, hdf5, case):
    written, policy, want = RESUMED[case]
    first = stepper(STATES[written][0], type=kind, snapshot_prefix=str(tmp_path / "a"), snapshot_format=int(not hdf5))
    first.step(6)
    path = first.snapshot()
    assert proto.read_state(path).current_step == STATES[written][1]
    second = stepper(policy, type=kind)
    second.restore(path)
    rates = []
    for _ in want:
        rates.append(second.lr)
        second.step(1)
    assert rates == want


@pytest.mark.parametrize("hdf5", [False, True])
def test_a_state_of_caffes_own_has_its_steps_too(tmp_path, hdf5):
    """No sdcaffe_state, no learned_net: a state that was written elsewhere, or by hand."""
    path = tmp_path / f"hand.solverstate{'.h5' if hdf5 else ''}"
    history = [np.zeros((1, 3), np.float32), np.zeros(1, np.float32)]
    proto.write_state(path, proto.State(6, "", 3, history, b""))
    solver = stepper(MULTISTEP + "100")
    solver.restore(path)
    assert (solver.iter, solver.current_step, solver.lr) == (6, 3, 0.5 * 0.5**3)
    solver.step(1)
    solver.param.snapshot_prefix = str(tmp_path / "next")
    assert proto.read_state(solver.snapshot()).current_step == 3
    proto.write_state(path, proto.State(6, "", -1, history, b""))
    with pytest.raises(SnapshotError, match="current_step -1"):
        solver.restore(path)


@pytest.mark.parametrize("hdf5", [False, True])
def test_a_comma_in_snapshot_prefix(tmp_path, hdf5):
    prefix = str(tmp_path / "one, two" / "a,b")
    first = stepper(MULTISTEP + "2", snapshot_prefix=prefix, snapshot_format=int(not hdf5))
    first.step(2)
    path = first.snapshot()
    second = stepper(MULTISTEP + "2", snapshot_prefix=prefix)
    assert str(second.restore_newest()) == path
    assert (second.net.params["ip"][0] == first.net.params["ip"][0]).all()


def test_the_weights_of_a_solver_are_a_list_with_commas(tmp_path, monkeypatch):
    """As in Caffe: names between commas, blanks around them cut off, in each `weights` of the solver."""
    monkeypatch.chdir(tmp_path)
    first = stepper(MULTISTEP + "2")
    first.step(1)
    for name in "ab":
        first.net.save(f"{name}.caffemodel")
        first.step(1)
    assert first.net.params["ip"][0][0, 0] != 0
    second = stepper(f'{MULTISTEP} 2 weights: "b.caffemodel, a.caffemodel"')
    third = stepper(f'{MULTISTEP} 2 weights: "a.caffemodel" weights: "a.caffemodel,b.caffemodel"')
    assert (second.net.params["ip"][0] != third.net.params["ip"][0]).any()
    with pytest.raises(SdcaffeError, match=r"c\.caffemodel"):
        stepper(f'{MULTISTEP} 2 weights: "a.caffemodel,c.caffemodel"')


def test_weights_reach_layers_that_only_a_test_net_has(tmp_path):
    """Caffe loads a solver's weights into its test nets, too."""
    probe = """layer { name: "probe" type: "InnerProduct" bottom: "ip" top: "probe" include { phase: TEST }
      inner_product_param { num_output: 1 weight_filler { type: "constant" value: VALUE } } }"""
    weights = proto.NetParameter()
    proto.text.parse(LINE + probe.replace("VALUE", "4"), weights, "net.prototxt")
    sdcaffe.Net(weights, sdcaffe.TEST).save(tmp_path / "w.caffemodel")
    param = proto.SolverParameter(
        lr_policy="fixed", test_iter=[1], test_interval=5, weights=[f"{tmp_path}/w.caffemodel"]
    )
    proto.text.parse(LINE + probe.replace("VALUE", "1"), param.net_param, "net.prototxt")
    solver = sdcaffe.Solver(param)
    assert solver.test_nets[0].params["probe"][0].item() == 4
    assert solver.test_nets[0].params["ip"][0] is solver.net.params["ip"][0]
