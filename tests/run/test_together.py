"""Runs that take turns in one process end as each does alone, bit for bit, and lose nothing when one fails or stops."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from warm_commands import WarmCommands

from sdcaffe import log, proto
from sdcaffe.cli import main
from sdcaffe.log import parse_log
from sdcaffe.run.together import Run, take_turns

PLAIN = """
name: "plain"
layer { name: "data" type: "Data" top: "image" top: "label" include { phase: TRAIN }
  data_param { source: "synthetic:train/8" batch_size: 8 shuffle: true } }
layer { name: "data" type: "Data" top: "image" top: "label" include { phase: TEST }
  data_param { source: "synthetic:test/8" batch_size: 10 } }
layer { name: "distort" type: "Distort" bottom: "image" top: "x"
  distort_param { pad: 4 crop_size: 32 mirror: true mean_value: 128 std_value: 64 } }
layer { name: "conv" type: "Convolution" bottom: "x" top: "y"
  convolution_param { num_output: 4 kernel_size: 4 stride: 4 weight_filler { type: "msra" } } }
layer { name: "drop" type: "Dropout" bottom: "y" top: "y" }
layer { name: "fc" type: "InnerProduct" bottom: "y" top: "z"
  inner_product_param { num_output: 10 weight_filler { type: "msra" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "z" bottom: "label" top: "loss" }
layer { name: "accuracy" type: "Accuracy" bottom: "z" bottom: "label" top: "accuracy" include { phase: TEST } }
"""
DISTILLED = """
name: "self-distilled"
layer { name: "data" type: "Data" top: "image" top: "label"
  data_param { source: "synthetic:train/8" batch_size: 8 shuffle: true } }
layer { name: "distort" type: "Distort" bottom: "image" top: "a" top: "b"
  distort_param { pad: 4 crop_size: 32 mirror: true mean_value: 128 std_value: 64 } }
layer { name: "both" type: "Concat" bottom: "a" bottom: "b" top: "x" concat_param { axis: 0 } }
layer { name: "conv" type: "Convolution" bottom: "x" top: "y"
  convolution_param { num_output: 4 kernel_size: 4 stride: 4 weight_filler { type: "msra" } } }
layer { name: "bn" type: "BatchNorm" bottom: "y" top: "y" }
layer { name: "drop" type: "Dropout" bottom: "y" top: "y" }
layer { name: "fc" type: "InnerProduct" bottom: "y" top: "z"
  inner_product_param { num_output: 10 weight_filler { type: "msra" } } }
layer { name: "parts" type: "Slice" bottom: "z" top: "z_a" top: "z_b" slice_param { axis: 0 } }
layer { name: "kl" type: "KLLoss" bottom: "z_a" bottom: "z_b" top: "kl" loss_weight: 1 }
layer { name: "mmd" type: "MMDLoss" bottom: "z_a" bottom: "z_b" top: "mmd" loss_weight: 0.01 }
layer { name: "loss_a" type: "SoftmaxWithLoss" bottom: "z_a" bottom: "label" top: "loss_a" }
layer { name: "loss_b" type: "SoftmaxWithLoss" bottom: "z_b" bottom: "label" top: "loss_b" }
"""
SOLVER = """
net: "{name}_net.prototxt" type: "Nesterov" base_lr: 0.01 lr_policy: "fixed" momentum: 0.9 max_iter: {iterations}
display: 1 average_loss: 3 snapshot: 7 snapshot_prefix: "{name}" solver_mode: CPU
"""


def write(folder: Path, iterations: int = 20) -> None:
    """plain.prototxt, which tests, and distilled.prototxt, which does not."""
    for name, net, more in (
        ("plain", PLAIN, "random_seed: 3 test_iter: 2 test_interval: 6"),
        ("distilled", DISTILLED, "random_seed: 4"),
    ):
        (folder / f"{name}_net.prototxt").write_text(net)
        (folder / f"{name}.prototxt").write_text(SOLVER.format(name=name, iterations=iterations) + more)


def command(*flags: str) -> list[str]:
    return [sys.executable, "-m", "sdcaffe", "train", *flags]


def contents(folder: Path, prefix: str, iterations: int = 20) -> list[np.ndarray]:
    """Every weight and history at the end."""
    blobs = [
        blob for entry in proto.read_weights(folder / f"{prefix}_iter_{iterations}.caffemodel") for blob in entry.blobs
    ]
    return [*blobs, *proto.read_state(folder / f"{prefix}_iter_{iterations}.solverstate").history]


def rows(folder: Path, prefix: str):
    run = parse_log(folder / f"{prefix}.log")
    train = [(row.iteration, row.loss, row.lr, row.outputs) for row in run.train]
    return run.end, run.net, train, [(row.iteration, row.outputs) for row in run.test]


def assert_same(one: Path, other: Path, prefix: str, iterations: int = 20) -> None:
    for a, b in zip(contents(one, prefix, iterations), contents(other, prefix, iterations), strict=True):
        np.testing.assert_array_equal(a, b)
    assert rows(one, prefix) == rows(other, prefix)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, warm: WarmCommands) -> Path:
    """Each run by itself, in a process of its own."""
    folder = tmp_path_factory.mktemp("alone")
    write(folder)
    text = (folder / "distilled.prototxt").read_text()
    (folder / "seed9.prototxt").write_text(
        text.replace('"distilled"', '"distilled_seed9"').replace("random_seed: 4", "random_seed: 9")
    )
    for name in ("plain", "distilled", "seed9"):
        command = ["sdcaffe", "train", f"{name}.prototxt"]
        subprocess.run(command, cwd=folder, env=warm.environment, check=True, capture_output=True)
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    return tmp_path


def test_several_solvers_end_as_each_does_alone(alone, here, warm):
    command = ["sdcaffe", "train", "plain.prototxt", "distilled.prototxt"]
    done = subprocess.run(command, env=warm.environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for prefix in ("plain", "distilled"):
        assert_same(alone, here, prefix)
        said = [line for line in done.stderr.splitlines() if line.startswith(f"[{prefix}] ")]
        assert any("Iteration 19 (" in line for line in said)
        assert f"{prefix}: snapshot: {prefix}_iter_20.solverstate\n{prefix}: log: {prefix}.log\n" in done.stdout


def test_a_seed_is_a_run_of_its_own(alone, here):
    assert main(["train", "distilled.prototxt", "--seeds", "4,9"]) == 0
    assert_same(alone, here, "distilled_seed9")
    for a, b in zip(contents(alone, "distilled"), contents(here, "distilled_seed4"), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_number_of_seeds_counts_from_one(here):
    write(here, iterations=1)
    assert main(["train", "distilled.prototxt", "plain.prototxt", "--seeds", "2"]) == 0
    assert sorted(path.name for path in here.glob("*.log")) == [
        f"{name}_seed{seed}.log" for name in ("distilled", "plain") for seed in (1, 2)
    ]


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_killed_or_stopped_runs_go_on_to_the_same_end(alone, here, sent):
    flags = ("plain.prototxt", "distilled.prototxt")
    child = subprocess.Popen(command(*flags), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while child.poll() is None and time.monotonic() < deadline:
        if (here / "distilled.log").exists() and "Iteration 9 (" in (here / "distilled.log").read_text():
            child.send_signal(sent)
            break
        time.sleep(0.002)
    out, _ = child.communicate(timeout=60)
    if sent == signal.SIGINT and "stopped at" in out:  # else it was through before the signal came
        assert child.returncode == 0
        assert out.count("sdcaffe train plain.prototxt distilled.prototxt --snapshot auto") == 2
        assert all(
            "Optimization stopped early" in (here / f"{name}.log").read_text() for name in ("plain", "distilled")
        )
    assert main(["train", *flags, "--snapshot", "auto"]) == 0
    for prefix in ("plain", "distilled"):
        for a, b in zip(contents(alone, prefix), contents(here, prefix), strict=True):
            np.testing.assert_array_equal(a, b)
        assert rows(alone, prefix)[2:] == rows(here, prefix)[2:]


def test_one_that_diverges_ends_and_the_others_go_on(alone, here, capsys):
    text = (here / "distilled.prototxt").read_text()
    (here / "bad.prototxt").write_text(text.replace('prefix: "distilled"', 'prefix: "bad"').replace("0.01", "1e20"))
    (here / "worse.prototxt").write_text(
        text.replace('prefix: "distilled"', 'prefix: "worse"').replace("distilled_n", "n")
    )
    assert main(["train", "bad.prototxt", "plain.prototxt", "worse.prototxt"]) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("sdcaffe: error: ")]
    assert errors[0].startswith("sdcaffe: error: worse: ")
    assert "sdcaffe: error: bad: at iteration" in errors[1]
    assert errors[2:] == ["sdcaffe: error: 2 of 3 runs failed, see above: worse, bad"]
    assert (here / "bad.log").read_text().splitlines()[-1][0] == "E"
    assert_same(alone, here, "plain")


def test_two_runs_of_one_prefix_are_refused_before_any_begins(here, capsys):
    (here / "again.prototxt").write_text((here / "plain.prototxt").read_text().replace('"plain"', '"./plain"'))
    assert main(["train", "plain.prototxt", "again.prototxt"]) == 1
    assert "plain.prototxt would write the same files" in capsys.readouterr().err
    assert main(["train", "plain.prototxt", "--seeds", "3,3"]) == 1
    assert not list(here.glob("*.log"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--seeds", "1,x"], "neither a number of seeds nor a list"),
        (["--seeds", "0"], "is not 1 or more"),
        (["--seeds", "2", "--snapshot", "plain_iter_7.solverstate"], "--snapshot auto"),
        (["--seeds", "2", "--device", "cpu", "--gpu", "0"], "give one of them"),
    ],
)
def test_what_makes_no_sense(here, capsys, flags, message):
    assert main(["train", "plain.prototxt", *flags]) == 2
    assert message in capsys.readouterr().err


def drawing(values: list[float], seed: int, count: int):
    torch.manual_seed(seed)
    for _ in range(count):
        values.append(float(torch.rand(())))
        yield
    return count


def test_each_draws_from_a_generator_of_its_own_and_the_process_from_its():
    torch.manual_seed(1)
    expected = {seed: torch.rand(6, generator=torch.Generator().manual_seed(seed)).tolist() for seed in (1, 5, 6)}
    drawn: dict[int, list[float]] = {5: [], 6: []}
    runs = [Run(str(seed), drawing(drawn[seed], seed, count), torch.device("cpu")) for seed, count in ((5, 6), (6, 3))]
    before = log.destination()
    take_turns(runs, lambda run, error: None)
    assert drawn == {5: expected[5], 6: expected[6][:3]}
    assert [run.result for run in runs] == [6, 3]
    assert torch.rand(6).tolist() == expected[1]
    assert log.destination() == before


def test_one_far_ahead_of_its_device_waits_while_others_go_on():
    order: list[str] = []

    def saying(name: str, count: int):
        for _ in range(count):
            order.append(name)
            yield

    slow, fast = (Run(name, saying(name, 3), torch.device("cpu")) for name in ("slow", "fast"))
    answers = iter([True, False, False, False, False])
    slow.ready = lambda: next(answers, True)
    slow.wait = lambda: order.append("waited")
    take_turns([slow, fast], lambda run, error: None)
    assert order == ["slow", "fast", "fast", "fast", "waited", "slow", "slow"]


def test_a_second_ctrl_c_ends_all_and_their_logs_say_so(here):
    def waiting(name: str, last: bool):
        with log.setup(here / f"{name}.log"):
            yield
            if last:
                os.kill(os.getpid(), signal.SIGINT)
            yield

    runs = [Run(name, waiting(name, name == "b"), torch.device("cpu")) for name in ("a", "b", "c")]
    before = log.destination()
    with pytest.raises(KeyboardInterrupt):
        take_turns(runs, lambda run, error: None)
    assert all((here / f"{name}.log").read_text().endswith("KeyboardInterrupt\n") for name in "abc")
    assert log.destination() == before
