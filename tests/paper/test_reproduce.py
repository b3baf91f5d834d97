"""Runs are trained cheapest first, stop at a limit, go on, and end as if nobody had stopped them."""

from __future__ import annotations

import fcntl
import functools
import itertools
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import small_study

from sdcaffe import Net, Solver, cli, proto
from sdcaffe.data import opening
from sdcaffe.data.synthetic import synthetic
from sdcaffe.errors import SdcaffeError
from sdcaffe.paper import published
from sdcaffe.paper.compare import compare, read_runs
from sdcaffe.paper.reproduce.jobs import STUDY, jobs, mark_done
from sdcaffe.paper.reproduce.prices import prices
from sdcaffe.paper.reproduce.several import run_all
from sdcaffe.paper.reproduce.training import Limit, duration, plan_lines, seconds_left
from sdcaffe.tools.step_times import StepTime, training_multiply_adds

KNOWN = published.load()
LOGS = Path("reference_logs/runs")


made_once = functools.lru_cache(synthetic)  # it takes a moment to draw


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(opening, "synthetic", made_once)


def study(seeds=1):
    found = jobs([STUDY], [], seeds, KNOWN)
    mark_done(found, read_runs([LOGS], KNOWN) if LOGS.is_dir() else [])
    return found


def times(found, *seconds):
    """A time for each net, in the order of the jobs."""
    return dict(zip(dict.fromkeys(job.param.net for job in found), map(StepTime, seconds), strict=True))


def logs():
    return {path.stem: read_runs([path], KNOWN)[0] for path in sorted(LOGS.rglob("*.log"))}


def weights(path):
    return {entry.name: entry.blobs for entry in proto.read_weights(path)}


def test_seed_by_seed_the_cheapest_runs_come_first_and_all_are_finished(tmp_path):
    small_study.write_study(tmp_path)
    said = []
    found = study(seeds=2)
    run_all(found, times(found, 8, 7, 6, 5, 4, 3, 2, 1), Limit(), say=said.append)
    begun = [line.split("study2/")[1].removesuffix(".log") for line in said if line.endswith(".log")]
    assert begun == [f"{name}_seed{seed}" for seed in (1, 2) for name in reversed(small_study.STUDY)]
    assert set(logs()) == set(begun)
    assert all(run.finished for run in logs().values())
    assert {(run.settings["name"], run.seed) for run in logs().values()} == {
        (f"small study2 {name}".replace("_", " "), seed) for name in small_study.STUDY for seed in (1, 2)
    }
    assert all(job.done for job in study(seeds=2))
    assert [job.done for job in study(seeds=3)].count(False) == 8
    assert len(compare([LOGS]).others) == 16  # no published value's, and none of them lost


def test_a_limit_stops_between_iterations_and_the_next_call_goes_on(tmp_path):
    """Every look at the clock is a second; a run of 8 iterations and 2 tests of 2 batches takes 12 looks."""
    small_study.write(tmp_path, small_study.FOLDER, "baseline")
    for name in small_study.STUDY[1:]:
        small_study.write(tmp_path, small_study.FOLDER, name, iterations=4)
    param = proto.read_solver("prototxt/study2/solver_baseline.prototxt")
    param.snapshot_prefix = "whole"
    solver = Solver(param)
    solver.solve()
    solver.close()
    reached = []
    for _ in range(80):
        found = study()
        if all(job.done for job in found):
            break
        cost, looks = times(found, 1, *[9] * 7), itertools.count(1)
        run_all(found, cost, Limit(4, clock=lambda looks=looks: next(looks)), say=lambda text: None)
        reached.append(found[0].iterations)
    assert 0 < reached[0] < reached[1] <= 8
    assert reached == sorted(reached)
    assert all(run.finished for run in logs().values())
    run = logs()["baseline_seed1"]
    assert run.finished
    assert run.log.resumes
    ours, whole = weights("runs/study2/baseline_seed1_iter_8.caffemodel"), weights("whole_iter_8.caffemodel")
    for layer, blobs in whole.items():
        for mine, theirs in zip(ours[layer], blobs, strict=True):
            np.testing.assert_array_equal(mine, theirs)
    left = sorted(path.name for path in Path("runs/study2").glob("baseline_seed1*.solverstate"))
    assert left == ["baseline_seed1_iter_4.solverstate", "baseline_seed1_iter_8.solverstate"]


def test_a_dear_teacher_comes_before_its_pupil(tmp_path):
    place = "cifar100/resnet32"
    for name in ("baseline", "self_distilled", "peer_resnet32", "peer_wrn28_10"):
        small_study.write(tmp_path, place, name, iterations=4)
    more = 'weights: "runs/cifar100/wrn28_10/baseline_iter_4.caffemodel"\n'
    small_study.write(tmp_path, place, "teacher_wrn28_10", iterations=4, more=more)
    small_study.write(tmp_path, "cifar100/wrn28_10", "baseline", iterations=4)
    found = jobs(["1"], [], 1, KNOWN)
    mark_done(found, [])
    cost = {job.param.net: StepTime(9 if "wrn28_10/" in job.param.net else 1) for job in found}
    said = []
    run_all(found, cost, Limit(), say=said.append)
    begun = [line.split("runs/cifar100/")[1] for line in said if line.endswith(".log")]
    assert begun[-2:] == ["wrn28_10/baseline_seed1.log", "resnet32/teacher_wrn28_10_seed1.log"]
    pupil = logs()["teacher_wrn28_10_seed1"]
    assert pupil.finished
    assert pupil.settings["weights from"].split()[0] == "runs/cifar100/wrn28_10/baseline_seed1_iter_4.caffemodel"


def test_processes_share_the_runs_out(tmp_path):
    """One that another process holds is left to it; one that another has finished by now is not begun again."""
    small_study.write_study(tmp_path)
    said = []
    stale = study()
    cost = times(stale, *[1] * 8)
    Path("runs/study2").mkdir(parents=True)
    with open("runs/study2/baseline_seed1.lock", "w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        run_all(stale, cost, Limit(), say=said.append)
        assert sorted(logs()) == sorted(f"{name}_seed1" for name in small_study.STUDY[1:])
    said.clear()
    for job in stale:
        job.done = False
    run_all(stale, cost, Limit(), say=said.append)
    assert [line for line in said if line.endswith(".log")] == [
        "small study2 baseline, synthetic:train, baseline, seed 1: reference_logs/runs/study2/baseline_seed1.log"
    ]


def test_logs_in_a_folder_of_ones_own(tmp_path, capsys):
    small_study.write_study(tmp_path)
    command = ["reproduce", "--table", "study", "--seeds", "1", "--logs", "mine"]
    assert cli.main(command) == 0
    assert sorted(path.name for path in Path("mine/study2").iterdir()) == sorted(
        f"{name}_seed1.log" for name in small_study.STUDY
    )
    assert not LOGS.exists()
    capsys.readouterr()
    assert cli.main(command) == 0
    assert capsys.readouterr().out.count("1 of 1") == 8


def test_a_run_that_fails_is_told_and_the_others_go_on(tmp_path):
    small_study.write_study(tmp_path)
    net = tmp_path / "prototxt/study2/train_val_two_branch.prototxt"
    net.write_text(net.read_text().replace("num_output: 4 kernel_size", "num_output: 4 group: 3 kernel_size"))
    said = []
    found = study()
    with pytest.raises(SdcaffeError, match="1 runs failed"):
        run_all(found, times(found, *[1] * 8), Limit(), say=said.append)
    assert sum("test error" in line for line in said) == 7
    (failure,) = [line for line in said if "failed" in line]
    assert "conv1" in failure


def test_what_has_no_images_here_is_listed_with_the_reason_and_not_run(tmp_path):
    small_study.write_study(tmp_path)
    net = tmp_path / "prototxt/study2/train_val_baseline.prototxt"
    net.write_text(net.read_text().replace('source: "synthetic:train"', 'backend: LMDB source: "nowhere"'))
    found = study()
    known = prices(found, "cpu")
    text = "\n".join(plan_lines(found, known))
    assert "0 of 1  cannot run" in text
    assert "\ncannot run: there is no LMDB nowhere here" in text
    assert seconds_left(found[0], known) is None
    assert all(known[job.param.net].seconds for job in found[1:])


def test_what_was_measured_is_remembered_and_the_rest_estimated_from_multiply_adds(tmp_path):
    """conv1 makes c x 8 x 8 values of 48 products each, fc reads them all ten times: 58 x 64 c, times 10 images."""
    small_study.write_study(tmp_path)
    found = study()
    guessed = prices(found, "cpu")
    assert not any(step.measured for step in guessed.values())
    for channels, step in enumerate(guessed.values(), start=2):
        assert step.seconds == pytest.approx(next(iter(guessed.values())).seconds * channels / 2)
    looks = itertools.count()
    # looks at the clock: the end, at the start and at the end of a net's steps, one before the next net; 7 s a look
    measured = prices(found, "cpu", budget=20, clock=lambda: 7.0 * next(looks))
    first, *others = measured.values()
    assert first == StepTime(7 / 3, measured=True)
    assert [time.measured for time in others] == [False] * 7
    for channels, step in zip(range(3, 10), others, strict=True):
        assert step.seconds == pytest.approx(7 / 3 * channels / 2)
    assert prices(found, "cpu") == measured
    assert "~ estimated from multiply-adds; --measure measures, and remembers it" in plan_lines(found, measured)


def test_a_teacher_goes_forward_alone(tmp_path):
    """Of one image: conv1's 58 x 64 x 2 products thrice where it learns, once where it is frozen."""
    (tmp_path / "net.prototxt").write_text(
        """
        layer { name: "data" type: "Input" top: "data" top: "label"
          input_param { shape { dim: 1 dim: 3 dim: 32 dim: 32 } shape { dim: 1 } } }
        layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
          convolution_param { num_output: 2 kernel_size: 4 stride: 4 } }
        layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc" inner_product_param { num_output: 10 } }
        layer { name: "taught" type: "InnerProduct" bottom: "conv" top: "taught"
          param { lr_mult: 0 } param { lr_mult: 0 } inner_product_param { num_output: 10 } }
        layer { name: "teacher" type: "Convolution" bottom: "data" top: "teacher"
          param { lr_mult: 0 } param { lr_mult: 0 } convolution_param { num_output: 2 kernel_size: 4 stride: 4 } }
        layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
        """
    )
    convolution, product = 2 * 8 * 8 * 48, 2 * 8 * 8 * 10
    # "taught" learns nothing itself, but what it reads does, so gradients go through it
    expected = 3 * convolution + 3 * product + 3 * product + convolution
    assert training_multiply_adds(Net("net.prototxt", proto.TRAIN)) == expected


@pytest.mark.parametrize("content", ["", "[]", "{", '{"cpu, 1 threads": 5}', '{"a": {"seconds": "x"}}'])
def test_a_file_of_other_content_is_no_memory(content, tmp_path):
    small_study.write_study(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/step_times.json").write_text(content)
    assert not any(step.measured for step in prices(study(), "cpu").values())


def test_costs_are_step_times_iterations(tmp_path):
    small_study.write_study(tmp_path)
    found = study(seeds=3)
    cost = dict.fromkeys(dict.fromkeys(job.param.net for job in found), StepTime(900, measured=True))
    lines = plan_lines(found, cost)
    assert lines[2].split()[-6:] == ["2.0", "h", "0", "of", "3", "6.0", "h"][-6:]
    assert lines[-1] == "2.0 days of training left"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59, "59 s"), (60, "1.0 min"), (3599, "60 min"), (5400, "1.5 h"), (86400, "24 h"), (1e6, "12 days")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_the_command_lists_runs_and_says_when_all_is_done(tmp_path, capsys):
    small_study.write_study(tmp_path)
    assert cli.main(["reproduce", "--table", "study", "--net", "resnet8width32", "--seeds", "1", "--dry-run"]) == 0
    assert "0 of 1" in capsys.readouterr().out
    assert not LOGS.exists()
    assert cli.main(["reproduce", "--table", "study", "--seeds", "1"]) == 0
    assert capsys.readouterr().out.count("test error") == 8
    assert cli.main(["reproduce", "--table", "study", "--seeds", "1"]) == 0
    out = capsys.readouterr().out
    assert out.count("done") == 1 + 8
    assert "0 s of training left" in out
    assert "test error" not in out


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--table", "7"], 2, "invalid choice"),
        (["--seeds", "0"], 2, "is not 1 or more"),
        (["--time-limit", "-5"], 2, "no number of seconds above 0"),
        (["--time-limit", "nan"], 2, "no number of seconds above 0"),
        (["--net", "resnet"], 1, "no chosen table has a network"),
        (["--logs", "a.log"], 2, "it names the folder of the logs"),
    ],
)
def test_mistakes(flags, code, message, capsys):
    Path("a.log").touch()
    assert cli.main(["reproduce", *flags]) == code
    assert message in capsys.readouterr().err


def test_several_at_once_train_what_one_after_the_other_trains(tmp_path, capfd):
    small_study.write_study(tmp_path)
    command = ["reproduce", "--table", "study", "--seeds", "1", "--device", "cpu"]
    assert cli.main([*command, "--jobs", "2"]) == 0
    assert capfd.readouterr().out.count("test error") == 8
    assert all(run.finished for run in logs().values())
    at_once = {path.name: path.read_bytes() for path in Path("runs/study2").glob("*_iter_8.caffemodel")}
    assert len(at_once) == 8
    shutil.rmtree("runs")
    shutil.rmtree("reference_logs")
    assert cli.main(command) == 0
    assert at_once == {path.name: path.read_bytes() for path in Path("runs/study2").glob("*_iter_8.caffemodel")}


def test_a_limit_stops_several_and_says_the_command_that_goes_on(tmp_path, capfd):
    small_study.write_study(tmp_path)
    limit = Limit(end=0, clock=lambda: 1)
    found, said = study(), []
    run_all(found, times(found, *[1] * 8), limit, "cpu", said.append, workers=2, go_on="sdcaffe reproduce --jobs 2")
    assert said == ["stopped; to go on: sdcaffe reproduce --jobs 2"]
    assert not LOGS.exists()


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_kill_9_and_signals_lose_no_more_than_the_last_interval(tmp_path, sent):
    for i, name in enumerate(small_study.STUDY):
        small_study.write(tmp_path, small_study.FOLDER, name, channels=2 + i, iterations=60)
    command = [sys.executable, "-m", "sdcaffe", "reproduce", "--table", "study", "--seeds", "1", "--device", "cpu"]
    killed = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and killed.poll() is None:
        written = [path for path in LOGS.rglob("*.log") if "Iteration 30 (" in path.read_text()]
        if len(written) == 2:  # one run is finished, another in the middle
            killed.send_signal(sent)
            break
        time.sleep(0.002)
    said, _ = killed.communicate(timeout=60)
    if sent != signal.SIGKILL:
        assert said.splitlines()[-1] == "stopped; to go on: sdcaffe reproduce --table study --seeds 1 --device cpu"
    assert killed.returncode == (-signal.SIGKILL if sent == signal.SIGKILL else 0)
    before = study()
    assert sum(job.done for job in before) == 1
    (midway,) = [job for job in before if 0 < job.iterations < 60]
    assert midway.iterations >= 28
    subprocess.run(command, check=True, capture_output=True)
    assert all(job.done for job in study())
    param = proto.read_solver(midway.file)
    param.snapshot_prefix = "whole"
    solver = Solver(param)
    solver.solve()
    solver.close()
    ours, whole = weights(midway.weights), weights("whole_iter_60.caffemodel")
    assert all(np.array_equal(a, b) for layer in whole for a, b in zip(ours[layer], whole[layer], strict=True))
