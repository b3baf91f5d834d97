"""`sdcaffe.run.run` from a script: a path, a message, seeds, devices, another thread; what it returns and refuses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import sdcaffe
from sdcaffe import proto
from sdcaffe.errors import SdcaffeError, SolverError, UsageError
from sdcaffe.log import Progress, parse_log
from sdcaffe.run import Outcome, RunsFailed, run, starter

NET = """
name: "small"
layer { name: "data" type: "Data" top: "x" top: "label"
  data_param { source: "synthetic:train/8" batch_size: 8 shuffle: true } transform_param { scale: 0.01 } }
layer { name: "fc" type: "InnerProduct" bottom: "x" top: "fc"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
layer { name: "accuracy" type: "Accuracy" bottom: "fc" bottom: "label" top: "accuracy" include { phase: TEST } }
"""
SOLVER = """
net: "net.prototxt" base_lr: 0.01 lr_policy: "fixed" momentum: 0.9 max_iter: 12 display: 4 random_seed: 3 snapshot: 5
test_iter: 2 test_interval: 6 snapshot_prefix: "out/small" solver_mode: CPU
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text(NET)
    (tmp_path / "solver.prototxt").write_text(SOLVER)
    return tmp_path


def weights(state):
    """The weights that a state names."""
    entries = proto.read_weights(Path("out") / Path(proto.read_state(state).learned_net).name)
    return np.concatenate([np.ravel(blob) for entry in entries for blob in entry.blobs])


def test_a_solver_by_its_path_ends_as_solver_solve_does(folder, capsys):
    (outcome,) = run("solver.prototxt")
    solver = sdcaffe.Solver("solver.prototxt")
    solver.solve()
    np.testing.assert_array_equal(
        weights(outcome.snapshot), np.concatenate([p.detach().numpy().ravel() for p in solver.net.parameters()])
    )
    assert outcome == Outcome(
        "small", "out/small.log", 12, 12, {0: dict(solver.test_scores[0])}, "out/small_iter_12.solverstate"
    )
    assert outcome.finished
    log = parse_log("out/small.log")
    assert (log.end, [row.iteration for row in log.train]) == ("finished", [0, 4, 8, 12])
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Iteration 8 (" in captured.err


def test_it_goes_on_from_a_state_and_from_the_newest(folder):
    (whole,) = run("solver.prototxt")
    end = weights(whole.snapshot)
    for name in ("out/small_iter_12.solverstate", "out/small_iter_12.caffemodel"):
        Path(name).unlink()
    (named,) = run("solver.prototxt", snapshot=Path("out/small_iter_5.solverstate"))
    np.testing.assert_array_equal(weights(named.snapshot), end)
    Path("out/small_iter_12.solverstate").unlink()
    (newest,) = run("solver.prototxt", snapshot="auto")
    np.testing.assert_array_equal(weights(newest.snapshot), end)
    assert parse_log("out/small.log").resumes == [5, 10]


def test_a_message_is_trained_and_stays_as_it_is(folder):
    param = sdcaffe.read_solver("solver.prototxt")
    before = param.SerializeToString()
    (by_path,) = run("solver.prototxt")
    end = weights(by_path.snapshot)
    (outcome,) = run(param, precision="fp32", level=1, stages=["a"], log=Path("logs/other.log"))
    assert param.SerializeToString() == before
    assert outcome.log == "logs/other.log"
    assert 'precision: "fp32"' in Path("logs/other.log").read_text()
    assert '  level: 1\n  stage: "a"\n' in Path("logs/other.log").read_text()
    np.testing.assert_array_equal(weights(outcome.snapshot), end)
    param.ClearField("snapshot_prefix")
    with pytest.raises(SolverError, match="a SolverParameter: it needs a snapshot_prefix"):
        run(param)


def test_it_starts_from_weights(folder):
    (first,) = run("solver.prototxt")
    end = weights(first.snapshot)
    solver = Path("solver.prototxt")
    solver.write_text(SOLVER.replace("max_iter: 12", "max_iter: 0").replace("out/small", "out/again"))
    (again,) = run(solver, weights=["out/small_iter_12.caffemodel"])
    np.testing.assert_array_equal(weights(again.snapshot), end)


def test_seeds_are_runs_of_their_own_and_one_that_fails_stops_no_other(folder):
    outcomes = run(["solver.prototxt"], seeds=[3, 4])
    assert [outcome.name for outcome in outcomes] == ["small_seed3", "small_seed4"]
    third, fourth = (weights(outcome.snapshot) for outcome in outcomes)
    assert not np.array_equal(third, fourth)
    (alone,) = run("solver.prototxt")
    np.testing.assert_array_equal(weights(alone.snapshot), third)
    Path("bad.prototxt").write_text(SOLVER.replace("out/small", "out/bad").replace("net.prototxt", "none.prototxt"))
    with pytest.raises(RunsFailed, match="1 of 2 runs failed, see above: bad") as failed:
        run(["bad.prototxt", "solver.prototxt"])
    assert failed.value.outcomes == [alone]


class Watched(Progress):
    def __init__(self, name):
        super().__init__()
        self.name, self.seen = name, []

    def due(self):
        return True

    def update(self, iteration, max_iter, **seen):
        self.seen.append(iteration)


def test_it_reports_its_progress_and_stops_when_asked(folder):
    watched = []

    def progress(name):
        watched.append(Watched(name))
        return watched[-1]

    (outcome,) = run("solver.prototxt", progress=progress, ask=lambda: "stop" if len(watched[0].seen) >= 7 else None)
    assert (watched[0].name, watched[0].seen) == ("small", [1, 2, 3, 4, 5, 6, 7])
    assert (outcome.iteration, outcome.finished) == (7, False)
    assert outcome.snapshot == "out/small_iter_7.solverstate"
    assert parse_log("out/small.log").end == "stopped"


def test_a_run_whose_starter_is_gone_stops_with_a_snapshot(folder, monkeypatch):
    monkeypatch.setattr(starter, "gone", threading.Event())
    starter.gone.set()
    (outcome,) = run("solver.prototxt")
    assert not outcome.finished
    assert parse_log("out/small.log").end == "stopped"
    assert Path(f"out/small_iter_{outcome.iteration}.solverstate").is_file()


def test_signals_are_heard_in_the_main_thread_only(folder):
    """In another thread the handlers of the process stay as they are; here a signal stops the run."""
    handlers = []

    class Look(Progress):
        def due(self):
            handlers.append(signal.getsignal(signal.SIGINT))
            if threading.current_thread() is threading.main_thread() and len(handlers) == 3:
                os.kill(os.getpid(), signal.SIGINT)
            return False

    before, outcomes = signal.getsignal(signal.SIGINT), []
    thread = threading.Thread(target=lambda: outcomes.extend(run("solver.prototxt", progress=lambda name: Look())))
    thread.start()
    thread.join()
    assert outcomes[0].finished
    assert set(handlers) == {before}
    handlers.clear()
    (outcome,) = run("solver.prototxt", progress=lambda name: Look())
    assert (outcome.iteration, outcome.finished) == (3, False)
    assert before not in handlers
    assert signal.getsignal(signal.SIGINT) == before


SCRIPT = """
from sdcaffe.run import run

if __name__ == "__main__":
    (outcome,) = run("solver.prototxt", devices=["cpu", "cpu"], weights=["start.caffemodel"])
    print(outcome.name, outcome.iteration, outcome.snapshot, outcome.scores[0]["accuracy"], type(outcome).__name__)
"""


def test_several_devices_train_one_run_in_processes_of_their_own(folder):
    run("solver.prototxt")
    Path("out/small_iter_10.caffemodel").rename("start.caffemodel")
    Path("script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    name, iteration, state, accuracy, kind = done.stdout.splitlines()[-1].split()  # torch 2.8's Gloo prints there too
    assert (name, iteration, state, kind) == ("small", "12", "out/small_iter_12.solverstate", "Outcome")
    log = parse_log("out/small.log")
    assert log.weights == ["start.caffemodel"]
    assert float(accuracy) == pytest.approx(log.test[-1].outputs["accuracy"], rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"solver": []}, UsageError, "there is no solver to run"),
        ({"snapshot": "auto", "weights": ["a.caffemodel"]}, UsageError, "give one of them"),
        ({"seeds": [1, 2], "devices": ["cpu", "cpu"]}, UsageError, "name one device, or one run"),
        ({"seeds": [1, 2], "snapshot": "a.solverstate"}, UsageError, "--snapshot auto"),
        ({"seeds": [1, 2], "log": "a.log"}, UsageError, "each has its own"),
        ({"devices": ["cpu", "cpu"], "ask": lambda: None}, UsageError, "give neither"),
        ({"solver": "none.prototxt"}, SdcaffeError, "none.prototxt"),
        ({"precision": "half"}, SolverError, 'unknown precision "half"'),
        ({"devices": ["tpu"]}, SolverError, 'device "tpu" is none of cpu, cuda'),
        ({"plugins": ["none.py"]}, SdcaffeError, "none.py: no such plugin file"),
        ({"seeds": [3, 3]}, SolverError, "would write the same files"),
        ({"snapshot": "none.solverstate"}, SdcaffeError, "none.solverstate"),
    ],
)
def test_what_makes_no_sense_is_one_error(folder, arguments, error, says):
    with pytest.raises(error, match=says):
        run(**{"solver": "solver.prototxt", **arguments})
