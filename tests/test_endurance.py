"""An hour of kills, resumes and iterations: nothing is lost, nothing stays behind, nothing grows.

`pytest -m slow tests/test_endurance.py`; SDCAFFE_ENDURANCE=10 makes each ten times as long, 0.01 a trial.
"""

from __future__ import annotations

import faulthandler
import os
import random
import resource
from pathlib import Path

import pytest
from forked_commands import Forks

from sdcaffe import Solver, proto
from sdcaffe.log import parse_log, silent
from sdcaffe.run import run

pytestmark = pytest.mark.slow

TIMES = float(os.environ.get("SDCAFFE_ENDURANCE", 1))
NET = """
layer { name: "made" type: "DummyData" top: "in" top: "label"
  dummy_data_param { shape { dim: 4 dim: 400 } shape { dim: 4 }
    data_filler { type: "uniform" max: 1 } data_filler { type: "constant" value: 1 } } }
layer { name: "fc" type: "InnerProduct" bottom: "in" top: "fc"
  inner_product_param { num_output: 400 weight_filler { type: "xavier" } } }
layer { name: "drop" type: "Dropout" bottom: "fc" top: "fc" }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""
SOLVER = 'net: "net.prototxt" base_lr: 0.01 lr_policy: "fixed" momentum: 0.9 random_seed: 2 average_loss: 3 '


def count(times: int) -> int:
    return max(3, round(times * TIMES))


@pytest.fixture(autouse=True)
def no_limit() -> None:
    """These take longer than the minutes after which a test counts as one that hangs."""
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text(NET)
    return tmp_path


def solver(prefix: str, **fields: object) -> str:
    path = f"{prefix}.prototxt"
    rest = " ".join(f"{name}: {value}" for name, value in fields.items())
    Path(path).write_text(f'{SOLVER} snapshot_prefix: "{prefix}" {rest}')
    return path


def orphans() -> list[str]:
    return [name for name in os.listdir() if name.endswith((".tmp", ".lock", ".partial"))]


def kill_until_done(forks: Forks, command: list[str], rng: random.Random, longest: float) -> int:
    """Start a command until it has come to its end, and kill it each time before, at a random moment; how often."""
    kills = 0
    while (code := forks.run(command, rng.uniform(0, 0.5) * longest)) is None:
        kills += 1
    assert code == 0
    return kills


@pytest.mark.parametrize("form", ["BINARYPROTO", "HDF5"])
def test_a_killed_run_ends_as_one_that_was_not(form: str, folder: Path) -> None:
    rng, kills, chains = random.Random(form), 0, 0
    suffix = ".h5" if form == "HDF5" else ""
    fields = {"max_iter": 600, "snapshot": 20, "display": 50, "snapshot_format": form}
    with Forks("said.txt", ["train", solver("first", max_iter=1, snapshot_format=form)]) as forks:
        longest = forks.timed(["train", solver("whole", **fields)])
        wanted = proto.read_weights(f"whole_iter_600.caffemodel{suffix}")
        while kills < count(100):
            prefix = f"run{chains}"
            kills += kill_until_done(forks, ["train", solver(prefix, **fields), "--snapshot", "auto"], rng, longest)
            found = proto.read_weights(f"{prefix}_iter_600.caffemodel{suffix}")
            for a, b in zip(found, wanted, strict=True):
                assert [blob.tobytes() for blob in a.blobs] == [blob.tobytes() for blob in b.blobs]
            log = parse_log(f"{prefix}.log")
            assert log.end == "finished"
            assert [row.iteration for row in log.train] == list(range(0, 601, 50))
            assert "broken snapshot" not in Path(f"{prefix}.log").read_text()
            assert not orphans()
            for file in folder.glob(f"{prefix}_iter_*"):
                file.unlink()
            chains += 1
    print(f"{form}: {kills} kills in {chains} runs")


def test_a_killed_command_leaves_the_old_file_or_the_new_one(folder: Path) -> None:
    rng, kills = random.Random(7), 0
    run(solver("run", max_iter=2, snapshot=1))
    Path("net_deploy.prototxt").write_text(
        'layer { name: "in" type: "Input" top: "in" input_param { shape { dim: 1 dim: 400 } } }\n'
        'layer { name: "fc" type: "InnerProduct" bottom: "in" top: "fc" inner_product_param { num_output: 400 } }'
    )
    weights = [f"run_iter_{i}.caffemodel" for i in (1, 2)]
    targets = {
        "out.pt": ["convert", "weights", "WEIGHTS", "out.pt"],
        "out.caffemodel.h5": ["convert", "weights", "WEIGHTS", "out.caffemodel.h5"],
        "out.onnx": ["export", "net_deploy.prototxt", "WEIGHTS", "-o", "out.onnx"],
    }
    with Forks("said.txt", ["export", "net_deploy.prototxt", weights[0], "-o", "first.onnx"]) as forks:
        for name, words in targets.items():
            commands = [[file if word == "WEIGHTS" else word for word in words] for file in weights]
            whole, longest = set(), 0.0
            for command in commands:
                longest = max(longest, forks.timed(command))
                whole.add(Path(name).read_bytes())
            assert len(whole) == 2
            for i in range(count(34)):
                while forks.run(commands[i % 2], rng.uniform(0, 1) * longest) is not None:
                    assert Path(name).read_bytes() in whole
                kills += 1
                assert Path(name).read_bytes() in whole
            forks.timed(commands[0])
            assert not orphans()
    print(f"{kills} kills of commands that write")


def held() -> tuple[int, int]:
    """Memory in KiB at its highest, and open files."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, len(os.listdir("/proc/self/fd"))


def test_resumes_in_one_process_hold_nothing(folder: Path) -> None:
    run(solver("run", max_iter=2, snapshot=1))
    before = (0, 0)
    for i in range(count(1000)):
        path = solver("run", max_iter=3 + i % 2, snapshot=1)
        with silent():
            one = Solver(path)
            one.restore(f"run_iter_{1 + i % 2}.solverstate")
            one.step(1)
            one.close()
        if i == count(1000) // 3:
            before = held()
    after = held()
    assert after[0] - before[0] < 32 * 1024
    assert after[1] == before[1]
    print(f"{count(1000)} resumes, {after[0]} KiB, {after[1]} files")


def test_iterations_hold_nothing(folder: Path) -> None:
    Path("net.prototxt").write_text(NET.replace("400", "4"))
    one = Solver(solver("run", max_iter=1, snapshot=10_000))
    steps = count(100_000)
    with silent():
        one.step(steps)
        before = held()
        one.step(2 * steps)
    after = held()
    assert one.iter == 3 * steps
    assert after[0] - before[0] < 16 * 1024
    assert after[1] == before[1]
    print(f"{3 * steps} iterations, {after[0]} KiB, {after[1]} files")
