"""`--tensorboard DIR`: what the events hold is what the log says, also of a run that goes on and of several."""

from __future__ import annotations

import errno
import importlib.util
import os
from pathlib import Path

import pytest

from sdcaffe.cli import main
from sdcaffe.log import parse_log

pytest.importorskip("tensorboard")
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
net: "net.prototxt" base_lr: 0.01 lr_policy: "step" gamma: 0.1 stepsize: 5 max_iter: 12 display: 2 average_loss: 3
random_seed: 3 snapshot: 5 test_iter: 2 test_interval: 4 snapshot_prefix: "out/small" solver_mode: CPU
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text(NET)
    (tmp_path / "solver.prototxt").write_text(SOLVER)
    return tmp_path


def curves(folder):
    """Of one run: the points of each curve by its tag."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def points(pairs):
    return [(step, pytest.approx(value, rel=1e-5)) for step, value in pairs]


def check(folder, name):
    found, log = curves(folder / name), parse_log(f"out/{name}.log")
    rows = [row for row in log.train if row.outputs]
    assert found["train/loss"] == points((row.iteration, row.outputs["loss"]) for row in rows)
    assert found["train/smoothed_loss"] == points((row.iteration, row.loss) for row in rows)
    assert found["train/lr"] == points((row.iteration, row.lr) for row in rows)
    assert [step for step, _ in found["train/seconds_per_iteration"]] == [row.iteration for row in rows]
    assert all(value > 0 for _, value in found["train/seconds_per_iteration"])
    for name in ("accuracy", "loss"):
        assert found[f"test_0/{name}"] == points((row.iteration, row.outputs[name]) for row in log.test)
    assert found["test_0/error_percent"] == [
        (row.iteration, pytest.approx(100 * (1 - row.outputs["accuracy"]), abs=1e-3)) for row in log.test
    ]


def test_the_events_say_what_the_log_says(folder):
    assert main(["train", "solver.prototxt", "--tensorboard", "board"]) == 0
    check(folder / "board", "small")
    Path("out/small_iter_12.solverstate").unlink()
    Path("out/small_iter_10.solverstate").unlink()
    assert main(["train", "solver.prototxt", "--tensorboard", "board", "--snapshot", "auto"]) == 0
    check(folder / "board", "small")


def test_each_of_several_runs_has_a_folder(folder):
    assert main(["train", "solver.prototxt", "--tensorboard", "board", "--seeds", "2"]) == 0
    for name in ("small_seed1", "small_seed2"):
        check(folder / "board", name)


def test_where_it_is_not_installed_nothing_is_trained(folder, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["train", "solver.prototxt", "--tensorboard", "board"]) == 2
    assert 'pip install "sdcaffe[tensorboard]"' in capsys.readouterr().err
    assert not Path("out").exists()


@pytest.mark.parametrize("kind", ["file", "under a file", "pipe", "dangling", "loop", "long", "odd"])
def test_a_folder_that_cannot_be_is_told_before_the_log_is_touched(
    kind: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "file").touch()
    os.mkfifo("pipe")
    os.symlink("nowhere", "dangling")
    os.symlink("loop", "loop")
    (folder / "out").mkdir()
    (folder / "out" / "small.log").write_text("] Iteration 3, loss = 1\n")
    places = {"under a file": "file/x", "long": "x" * 300, "odd": os.fsdecode(b"x\xff")}
    before = sorted(folder.rglob("*"))
    assert main(["train", "solver.prototxt", "--tensorboard", places.get(kind, kind)]) == 1
    error = capsys.readouterr().err
    assert [line for line in error.splitlines() if "error" in line][-1].startswith("sdcaffe: error: ")
    assert "TensorBoard" in error
    assert sorted(folder.rglob("*")) == before
    assert (folder / "out" / "small.log").read_text() == "] Iteration 3, loss = 1\n"


def test_a_full_disk_does_not_end_the_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from torch.utils.tensorboard import SummaryWriter

    def full(*args: object, **more: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(SummaryWriter, "add_scalar", full)
    assert main(["train", "solver.prototxt", "--tensorboard", "board"]) == 0
    assert capsys.readouterr().err.count("TensorBoard's events cannot be written: No space left on device") == 1
    assert (folder / "out" / "small_iter_12.solverstate").exists()
