"""Commands over damaged files of what they read: done, or one line; never a traceback, and nothing left behind.

Deterministic; `SDCAFFE_FUZZ_COMMANDS=500 pytest tests/fuzz/test_commands_over_damage.py` tries that many for each.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest
from fuzz_targets import damaged
from PIL import Image

from sdcaffe.cli import main

TIMES = int(os.environ.get("SDCAFFE_FUZZ_COMMANDS", 6))
NET = """name: "n"
layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "fc" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 3 } }
layer { name: "prob" type: "Softmax" bottom: "y" top: "prob" }
"""
TRAIN = """name: "n"
layer { name: "d" type: "DummyData" top: "x" top: "l"
  dummy_data_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } shape { dim: 2 } } }
layer { name: "fc" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 3 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "y" bottom: "l" top: "loss" }
"""
SOLVER = 'net: "train.prototxt" base_lr: 0.01 lr_policy: "fixed" max_iter: 3 snapshot_prefix: "run"'
CLASSIFY = "classify net.prototxt run_iter_2.caffemodel 0.png"
COMMANDS = [
    ("net.prototxt", "summary net.prototxt"),
    ("net.prototxt", f"{CLASSIFY} --mean 0"),
    ("net.prototxt", "convert module net.prototxt o.py"),
    ("train.prototxt", "train solver.prototxt"),
    ("train.prototxt", "time train.prototxt --iterations 1"),
    ("train.prototxt", "self-distill train.prototxt -o o.prototxt"),
    ("solver.prototxt", "train solver.prototxt"),
    ("run_iter_2.caffemodel", "train solver.prototxt --snapshot run_iter_2.solverstate"),
    ("run_iter_2.caffemodel", "train solver.prototxt --snapshot auto"),
    ("run_iter_2.caffemodel", "train solver.prototxt --weights run_iter_2.caffemodel"),
    ("run_iter_2.caffemodel", "test train.prototxt --weights run_iter_2.caffemodel --iterations 1"),
    ("run_iter_2.caffemodel", f"{CLASSIFY} --mean 0"),
    ("run_iter_2.caffemodel", "convert weights run_iter_2.caffemodel o.pt"),
    ("run_iter_2.solverstate", "train solver.prototxt --snapshot run_iter_2.solverstate"),
    ("run_iter_2.solverstate", "train solver.prototxt --snapshot auto"),
    ("mean.npy", f"{CLASSIFY} --mean mean.npy"),
    ("mean.npy", "convert mean mean.npy o.binaryproto"),
    ("mean.binaryproto", f"{CLASSIFY} --mean mean.binaryproto"),
    ("0.png", f"{CLASSIFY} --mean 0"),
    ("0.png", "convert-imageset ./ list.txt o_lmdb"),
    ("list.txt", "convert-imageset ./ list.txt o_lmdb"),
    ("run.log", "parse-log run.log ."),
    ("run.log", "compare run.log --csv o.csv"),
]
WRITTEN = {
    *("run.log", "run.log.previous"),
    *("run_iter_3.caffemodel", "run_iter_3.solverstate", "run.log.train", "run.log.test", "o_lmdb"),
    *(f"o.{ending}" for ending in ("py", "prototxt", "pt", "binaryproto", "csv")),
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Whole files of every kind, by name."""
    folder = tmp_path_factory.mktemp("good")
    before = os.getcwd()
    os.chdir(folder)
    try:
        Path("net.prototxt").write_text(NET)
        Path("train.prototxt").write_text(TRAIN)
        Path("solver.prototxt").write_text(SOLVER)
        Path("list.txt").write_text("0.png 0\n0.png 1\n")
        pixels = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype="u1")
        Image.fromarray(pixels).save("0.png")
        np.save("mean.npy", np.full((3, 8, 8), 90, "f4"))
        assert main(["convert", "mean", "mean.npy", "mean.binaryproto"]) == 0
        Path("two.prototxt").write_text(SOLVER.replace("max_iter: 3", "max_iter: 2"))
        assert main(["train", "two.prototxt"]) == 0
        return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    finally:
        os.chdir(before)


@pytest.mark.parametrize(("name", "command"), COMMANDS)
def test_a_command_over_damaged_files(
    name: str,
    command: str,
    good: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert name in good
    rng = random.Random(name + command)
    for i in range(TIMES):
        folder = tmp_path / str(i)
        folder.mkdir()
        monkeypatch.chdir(folder)
        for file, content in good.items():
            Path(file).write_bytes(damaged(content, rng) if file == name else content)
        code = main(command.split())
        out, err = capsys.readouterr()
        told = [line for line in err.splitlines() if line.startswith("sdcaffe: error: ")]
        assert (code, len(told)) in ((0, 0), (1, 1), (2, 1)), err
        assert not any((ord(c) < 32 and c not in "\n\t\r") or 127 <= ord(c) < 160 for c in out + err)
        assert set(os.listdir()) - set(good) <= (WRITTEN if code == 0 else set())
        if code:  # what had a log keeps it
            assert name == "run.log" or Path("run.log").read_bytes() == good["run.log"]
