"""Of two or three processes that train together, one is killed at a random moment: all end, and one line names it.

`pytest -m slow -s tests/test_killed_processes.py`; SDCAFFE_ENDURANCE=10 makes ten times as many kills.
"""

from __future__ import annotations

import faulthandler
import os
import random
import re
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from sdcaffe.log import parse_log

pytestmark = pytest.mark.slow

KILLS = max(2, round(20 * float(os.environ.get("SDCAFFE_ENDURANCE", 1))))
SEED = os.environ.get("SDCAFFE_ENDURANCE_SEED", "0")
LIMIT = 60.0  # seconds from the kill to the end of the last process
NET = """
layer { name: "made" type: "DummyData" top: "in" top: "label"
  dummy_data_param { shape { dim: 4 dim: 40 } shape { dim: 4 }
    data_filler { type: "uniform" max: 1 } data_filler { type: "constant" value: 1 } } }
layer { name: "fc" type: "InnerProduct" bottom: "in" top: "fc"
  inner_product_param { num_output: 40 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""
SOLVER = 'net: "net.prototxt" base_lr: 0.01 lr_policy: "fixed" momentum: 0.9 random_seed: 2 max_iter: 1000000'
# The command as it runs with `--gpu 0,1`, on a machine that has CPUs for GPUs.
COMMAND = """
import os
import sys
from sdcaffe import cli, flags

world = int(os.environ["WORLD"])
flags.devices_of = lambda args: ["cpu"] * world
if __name__ == "__main__":
    sys.exit(cli.main(["train", *sys.argv[1:]]))
"""


def marked(word: str) -> dict[int, str]:
    """The living processes whose environment holds the word, with their command lines."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            environment, command, stat = (
                Path(f"/proc/{pid}/{name}").read_bytes().decode(errors="replace")
                for name in ("environ", "cmdline", "stat")
            )
        except OSError:
            continue
        if word in environment and stat.rpartition(")")[2].split()[0] != "Z":
            found[int(pid)] = command
    return found


def start(how: str, world: int, word: str, told: Path) -> subprocess.Popen[bytes]:
    words = {
        "command": [sys.executable, "command.py"],
        "torchrun": [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={world}"),
            *("-m", "sdcaffe", "train"),
        ],
    }[how]
    with told.open("wb") as file:
        return subprocess.Popen(
            [*words, "solver.prototxt", "--snapshot", "auto"],
            stdout=file,
            stderr=file,
            env={**os.environ, "OMP_NUM_THREADS": "1", "WORLD": str(world), "KILLED_AT_RANDOM": word},
        )


def lines_that_name(how: str, killed: str, text: str) -> list[str]:
    """What was told of the end: in one line by the command, and by torchrun in its own way."""
    if killed == "starter":
        return re.findall("sdcaffe: error: the process that started this one is gone", text) or re.findall(
            "sdcaffe: error: torchrun, which started this process, is gone", text
        )
    if how == "torchrun":
        return re.findall(r"Signal 9 \(SIGKILL\) received by PID", text)[:1]
    return re.findall(r"sdcaffe: error: process \d of \d \(cpu\) was killed by SIGKILL", text)


@pytest.mark.parametrize(("how", "world"), [("command", 2), ("command", 3), ("torchrun", 3)])
def test_one_is_killed_and_all_end(how: str, world: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faulthandler.cancel_dump_traceback_later()
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(NET)
    Path("solver.prototxt").write_text(f'{SOLVER} snapshot: 50 display: 10 snapshot_prefix: "run"')
    Path("command.py").write_text(COMMAND)
    rng, latest, trained = random.Random(f"{how}{world}{SEED}"), 0.0, 0
    began, whole = time.monotonic(), 0.0
    for kill in range(KILLS):
        word, told = uuid.uuid4().hex, Path(f"told.{kill}")
        job = start(how, world, word, told)
        began, wait = time.monotonic(), rng.uniform(0, 1.4) * whole
        everyone: dict[int, str] = {}
        # The first shows how long it takes until all train; the others are killed between the start and soon after.
        while (time.monotonic() - began < wait if whole else "Iteration 100 " not in told.read_text()) or not everyone:
            assert job.poll() is None, told.read_text()
            everyone = {p: c for p, c in marked(word).items() if "resource_tracker" not in c}
            time.sleep(0.02)
        whole = whole or time.monotonic() - began
        victim = rng.choice(sorted(everyone))
        while victim == job.pid and len(everyone) < 2:  # none else is there who could tell
            everyone = {p: c for p, c in marked(word).items() if "resource_tracker" not in c}
            time.sleep(0.02)
        at = "Iteration" in told.read_text()
        os.kill(victim, signal.SIGKILL)
        began, killed = time.monotonic(), "starter" if victim == job.pid else "worker"
        job.wait(LIMIT)
        while left := marked(word):
            assert time.monotonic() - began < LIMIT, (killed, left, told.read_text())
            time.sleep(0.05)
        latest, trained = max(latest, time.monotonic() - began), trained + at
        text = told.read_text()
        print(f"{how} {world}: {killed} killed, {time.monotonic() - began:.1f} s, trained: {at}", flush=True)
        assert len(lines_that_name(how, killed, text)) == 1, (killed, everyone[victim], text)
        assert "Traceback" not in text or how == "torchrun", text
        assert not list(Path().glob("*.lock.*")), os.listdir()
    if Path("run.log").exists():
        assert "broken" not in Path("run.log").read_text()
        parse_log("run.log")
    print(f"{how} {world}: {KILLS} kills, {trained} while it trained, the latest end after {latest:.1f} s")
