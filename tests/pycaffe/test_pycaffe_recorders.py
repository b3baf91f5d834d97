"""The scripts that recorded BVLC Caffe, unchanged, under `sdcaffe pycaffe`: they record the same arrays again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

GOLDENS = Path(__file__).parents[1] / "goldens"
LAYERS = sorted((GOLDENS / "layers").glob("*.npz"))
RUNS = sorted(path.parent for path in (GOLDENS / "training").glob("*/trace.npz"))

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the recorders fork")


def run_script(folder, *arguments):
    command = [sys.executable, "-m", "sdcaffe", "pycaffe", *map(str, arguments)]
    environment = {**os.environ, "GLOG_minloglevel": "2"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "FAIL" not in done.stdout, done.stdout + done.stderr


def differences(name, have, want):
    """Fields of one record that are not as recorded, to 1e-5 of the largest absolute value."""
    if sorted(have.files) != sorted(want.files):
        return [f"{name}: fields {sorted(set(have.files) ^ set(want.files))}"]
    wrong = []
    for field in want.files:
        ours, caffes = have[field], want[field]
        if caffes.dtype.kind != "f":
            same = np.array_equal(ours, caffes)
        else:
            scale = np.abs(caffes).max(initial=0.0) or 1.0
            same = ours.shape == caffes.shape and np.abs(ours - caffes).max(initial=0.0) <= 1e-5 * scale
        if not same:
            wrong.append(f"{name}: {field}")
    return wrong


@pytest.mark.slow
def test_record_gives_all_layer_recordings_again(tmp_path):
    run_script(tmp_path, GOLDENS / "record.py", GOLDENS / "cases.py", "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [path.name for path in LAYERS]
    wrong = []
    for path in LAYERS:
        with np.load(tmp_path / "out" / path.name) as have, np.load(path) as want:
            wrong += differences(path.stem, have, want)
    assert wrong == []


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    """The folder with what record_training.py recorded."""
    folder = tmp_path_factory.mktemp("training")
    run_script(folder, GOLDENS / "record_training.py", Path(__file__).with_name("recorded_starts.py"), "out")
    return folder / "out"


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_record_training_follows_the_recordings(run, traces):
    """Within ten times what a change of rounding size does to the run in Caffe, and 1e-5."""
    have, want = np.load(traces / run.name / "trace.npz"), np.load(run / "trace.npz")
    perturbed = np.load(run / "trace_perturbed.npz")
    assert sorted(have.files) == sorted(want.files)
    for field in want.files:
        drift = np.abs(perturbed[field] - want[field])
        is_loss = not field.endswith(("_0", "_1", "_2"))
        drift = np.maximum.accumulate(drift) if is_loss else drift.max()
        scale = np.abs(want[field]).max()
        assert (np.abs(have[field] - want[field]) <= 10 * drift + 1e-5 * scale).all(), field
    recorded = sorted(path.name for path in run.iterdir() if not path.name.startswith("trace_"))
    assert sorted(path.name for path in (traces / run.name).iterdir()) == recorded
