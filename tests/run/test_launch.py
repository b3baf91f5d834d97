"""Processes that start, end and fail together: from the command with several devices, and under torchrun."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from process_nets import PLAIN, write

from sdcaffe.errors import SdcaffeError
from sdcaffe.log import parse_log
from sdcaffe.run import launch
from sdcaffe.solver.devices import own_device

# The command as it runs with `--gpu 0,1`, on a machine that has two CPUs for GPUs.
COMMAND = """
import sys
from sdcaffe import cli, flags

flags.devices_of = lambda args: ["cpu", "cpu"]
if __name__ == "__main__":
    sys.exit(cli.main(["train", *sys.argv[1:]]))
"""
TORCHRUN = [
    sys.executable,
    "-m",
    "torch.distributed.run",
    "--standalone",
    "--nproc-per-node=2",
    "-m",
    "sdcaffe",
    "train",
]
HOWS = ["command", pytest.param("torchrun", marks=pytest.mark.slow)]


@pytest.fixture
def folder(tmp_path):
    path = write(tmp_path, 2, PLAIN, "snapshot: 10")
    path.write_text(path.read_text().replace("max_iter: 50", "max_iter: 100000"))
    (tmp_path / "command.py").write_text(COMMAND)
    return tmp_path


def start(folder, how, *flags):
    how = TORCHRUN if how == "torchrun" else [sys.executable, "command.py"]
    return subprocess.Popen(
        [*how, "solver_2.prototxt", *flags],
        cwd=folder,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=hears_ctrl_c,
    )


def hears_ctrl_c():
    """As in a terminal, also where these tests run in the background of a shell, which turns the signal off."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_for(folder, iteration, job, timeout=120):
    """Until the log shows the iteration; the processes of the job, in the order of their numbers."""
    end = time.monotonic() + timeout
    log = folder / "run_2.log"
    while not (log.exists() and re.search(rf"Iteration {iteration} \(", log.read_text())):
        assert job.poll() is None, job.communicate()
        assert time.monotonic() < end, log.read_text() if log.exists() else "no log"
        time.sleep(0.05)
    workers = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            stat, environ, command = (
                Path(f"/proc/{pid}/{name}").read_text() for name in ("stat", "environ", "cmdline")
            )
            if int(stat.rpartition(")")[2].split()[1]) == job.pid and "resource_tracker" not in command:
                rank = re.search(r"(?:^|\0)RANK=(\d+)", environ)
                workers.append((int(rank[1]) if rank else int(pid), int(pid)))
        except OSError:
            continue
    assert len(workers) == 2
    return [pid for _, pid in sorted(workers)]


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def end_of(job, seconds=40):
    began = time.monotonic()
    try:
        out, err = job.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        job.kill()  # which ends the others too
        raise
    return out, err, time.monotonic() - began


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("rank", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_killed_process_ends_the_job_and_another_number_goes_on(folder, how, rank):
    job = start(folder, how)
    workers = wait_for(folder, 20, job)
    os.kill(workers[rank], signal.SIGKILL)
    _, err, _ = end_of(job)
    assert job.returncode == 1
    assert all(gone(pid) for pid in workers)
    lines = [line for line in err.splitlines() if line.startswith("sdcaffe: error: ")]
    if how == "command":
        assert len(lines) == 1
        assert f"process {rank} of 2 (cpu) was killed by SIGKILL" in lines[0]
        assert "The snapshots are as they were: go on from the last with --snapshot auto" in lines[0]
        assert err.rstrip().endswith(lines[0])
        assert "Traceback" not in err
        if rank == 1:
            assert "another process of this job ended" in (folder / "run_2.log").read_text().splitlines()[-1]
    else:  # torchrun tells of it in its own way, and may end the other before that one can speak
        assert len(lines) <= 1
        assert "Signal 9 (SIGKILL) received by PID" in err
    before = max(int(re.search(r"iter_(\d+)", path.name)[1]) for path in folder.glob("run_2_iter_*.solverstate"))
    assert before >= 20
    solver = folder / "solver_2.prototxt"
    solver.write_text(solver.read_text().replace("max_iter: 100000", f"max_iter: {before + 3}"))
    alone = [sys.executable, "-m", "sdcaffe", "train", "solver_2.prototxt", "--snapshot", "auto"]
    done = subprocess.run(alone, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert (folder / f"run_2_iter_{before + 3}.solverstate").exists()


@pytest.mark.parametrize("how", HOWS)
def test_ctrl_c_makes_one_snapshot_and_ends_all(folder, how):
    job = start(folder, how)
    workers = wait_for(folder, 20, job)
    job.send_signal(signal.SIGINT)
    out, err, _ = end_of(job)
    assert all(gone(pid) for pid in workers)
    log = parse_log(folder / "run_2.log")
    assert (log.processes, log.devices) == (2, ["CPU"])
    stopped = int(re.search(r"stopped at iteration (\d+) of 100000", out)[1])
    assert (folder / f"run_2_iter_{stopped}.solverstate").exists()
    assert log.train[-1].iteration <= stopped
    assert (folder / "run_2.log").read_text().count(f"run_2_iter_{stopped}.solverstate") == 1
    if how == "command":  # torchrun tells of the signal in its own way, and ends with 1
        assert job.returncode == 0
        assert "rror" not in err


@pytest.mark.slow  # test_run.py has one process whose starter is gone
@pytest.mark.parametrize("how", ["command", "torchrun"])
def test_when_the_one_that_started_them_is_killed_they_stop_with_a_snapshot(folder, how):
    job = start(folder, how)
    workers = wait_for(folder, 20, job)
    job.kill()
    _, err = job.communicate(timeout=30)
    end = time.monotonic() + 30
    while not all(gone(pid) for pid in workers):
        assert time.monotonic() < end
        time.sleep(0.1)
    assert err.count("sdcaffe: error: the process that started this one is gone") == 1
    assert "Optimization stopped early." in (folder / "run_2.log").read_text()


@pytest.mark.parametrize(("rank", "store"), [(0, True), (1, True), (1, False)])
def test_a_process_whose_torchrun_was_gone_before_it_could_look(rank, store):
    """The address is that of a port which nobody listens on any more. The first of the processes says so."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    names = {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    names |= {"TORCHELASTIC_RUN_ID": "1", "TORCHELASTIC_USE_AGENT_STORE": str(store)}
    code = "from sdcaffe.run.starter import watch_torchrun; watch_torchrun()"
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **names}, capture_output=True, text=True)
    assert (done.returncode == 1) == store
    assert ("torchrun, which started this process, is gone" in done.stderr) == (store and rank == 0)
    assert done.stderr == "" or rank == 0


@pytest.mark.slow  # test_run.py has what a script starts
@pytest.mark.parametrize("how", ["command", "torchrun"])
def test_they_train_to_the_end_and_one_logs(folder, how):
    solver = folder / "solver_2.prototxt"
    solver.write_text(solver.read_text().replace("max_iter: 100000", "max_iter: 20"))
    out, err, _ = end_of(job := start(folder, how), 120)
    assert job.returncode == 0, err
    assert err.count("Starting Optimization") == 1
    assert out.count("snapshot: run_2_iter_20.solverstate") == 1
    assert [row.iteration for row in parse_log(folder / "run_2.log").train] == [0, 10, 20]


@pytest.mark.parametrize("looks", range(6))
def test_one_that_ends_between_two_looks_is_seen(looks):
    """Of two processes at their end, the second ends just after it was seen at work."""

    class Ending:
        def __init__(self, looks):
            self.looks = looks

        def poll(self):
            self.looks -= 1
            return None if self.looks >= 0 else 0

    every = [Ending(0), Ending(looks)]
    waiting = threading.Thread(target=launch._until_all_ended_or_one_failed, args=(every,), daemon=True)
    waiting.start()
    waiting.join(10)
    assert not waiting.is_alive()


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("sent", [b"", b"\0\0\0", b"\0" * 7 + b"\x09abc", b"\0" * 7 + b"\1a"])
def test_one_whose_starter_goes_before_all_is_sent(rank, sent):
    """The first of several says so; there is no word of Python's."""
    code = f"from sdcaffe.run import starter; starter._main({rank})"
    done = subprocess.run([sys.executable, "-c", code], input=sent, capture_output=True)
    assert done.returncode == 1
    line = b"sdcaffe: error: the process that started this one is gone; this run stops\n"
    assert done.stderr == (line if rank == 0 else b"")


STARTS = """
import os, pathlib, sys
from sdcaffe.run import starter
{before}
child = starter.start(0, {function}, (7,))
print(child.wait())
"""


@pytest.mark.parametrize(
    ("before", "function", "code", "told"),
    [
        ("", "os._exit", "7", ""),
        ("sys.path.insert(0, pathlib.Path('here'))", "os._exit", "7", ""),  # which Python itself passes over
        ("def own(code): pass", "own", "1", "sdcaffe: error: Can't get attribute 'own'"),
    ],
)
@pytest.mark.parametrize("how", ["-c", "-"])
def test_one_of_a_script_without_a_file(how, before, function, code, told):
    script = STARTS.format(before=before, function=function)
    words, given = ([how, script], None) if how == "-c" else ([how], script)
    done = subprocess.run([sys.executable, *words], input=given, capture_output=True, text=True, timeout=60)
    assert done.stdout == f"{code}\n"
    assert done.stderr.startswith(told)
    assert "Traceback" not in done.stderr
    assert bool(done.stderr) == bool(told)


def test_a_script_that_ends_where_it_is_imported(tmp_path):
    """No work was done, so it is no success."""
    script = tmp_path / "script.py"
    script.write_text(
        "if __name__ != '__main__': raise SystemExit(0)\n" + STARTS.format(before="", function="os._exit")
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_a_script_that_starts_them_while_they_import_it(folder):
    (folder / "script.py").write_text('from sdcaffe.run import run\nrun("solver_2.prototxt", devices=["cpu", "cpu"])\n')
    done = subprocess.run([sys.executable, "script.py"], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    told = 'belongs under if __name__ == "__main__":'
    assert done.stderr.count(told) == 1
    assert done.stderr.startswith("sdcaffe: error: ")
    assert not (folder / "run_2.log").exists()


@pytest.mark.parametrize("how", HOWS)
def test_what_one_cannot_do_is_said_once(folder, how):
    """A net that only shows its mistake when it is built, in all processes at once."""
    net = folder / "net_2.prototxt"
    net.write_text(net.read_text().replace('bottom: "two" top: "fc"', 'bottom: "tow" top: "fc"'))
    _, err, _ = end_of(job := start(folder, how), 120)
    assert job.returncode == 1
    printed = err.splitlines()
    (at,) = [i for i, line in enumerate(printed) if line.startswith("sdcaffe: error: ")]
    assert "net_2.prototxt" in printed[at]
    assert '"tow"' in printed[at]
    assert printed[at + 1].strip() == 'layer { name: "fc" type: "InnerProduct" bottom: "tow" top: "fc"'
    assert printed[at + 2].strip() == "^"
    assert printed[at + 2].index("^") == printed[at + 1].index("bottom:"), err


def test_a_device_for_each_process(monkeypatch):
    assert own_device([]) is None
    assert own_device(["cpu"]) == "cpu"
    for name, value in launch.environment(1, 4, launch.new_store()).items():
        monkeypatch.setenv(name, value)
    assert own_device(["cpu"]) == "cpu"
    assert own_device(["cuda:3", "cuda:2"]) == "cuda:2"
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(SdcaffeError, match="this is process 3 on this machine, but there is a device for 2"):
        own_device(["cuda:3", "cuda:2"])
