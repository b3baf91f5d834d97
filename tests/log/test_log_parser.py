"""Numbers here were read by eye from the logs that BVLC Caffe wrote (tests/goldens/files)."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import pytest

from sdcaffe.errors import DataError
from sdcaffe.log import accuracy, parse_log

FILES = Path(__file__).parents[1] / "goldens" / "files"


def text_of(name: str) -> str:
    return (FILES / name).read_text()


def old_prefix(text: str) -> str:
    """The same log as a Caffe of 2015 writes it: no year, speed missing from the iteration lines."""
    lines = [line.replace("20261123 ", "1123 ", 1) if line[1:9] == "20261123" else line for line in text.split("\n")]
    return "\n".join(lines)


def test_a_whole_run_of_caffe() -> None:
    run = parse_log(FILES / "caffe_train.log")
    assert run.net == "tiny"
    assert run.start == datetime(2026, 11, 23, 4, 57, 13, 116340)
    assert run.end == "finished"
    assert run.resumes == []
    assert [row.iteration for row in run.train] == [0, 5, 10, 15, 20, 25, 30]
    assert [row.loss for row in run.train] == [1.08294, 0.809297, 0.426794, 0.47452, 0.434483, 0.46343, 0.429128]
    assert [row.lr for row in run.train[:-1]] == [0.01, 0.01, 0.01, 0.001, 0.001, 0.0001]
    assert [row.outputs["loss"] for row in run.train[:-1]] == [
        1.08294,
        0.630814,
        0.261659,
        0.576249,
        0.488709,
        0.683495,
    ]
    assert run.train[1].seconds == pytest.approx(13.120252 - 13.116340)


def test_the_last_loss_of_caffe_has_no_rate_and_no_outputs() -> None:
    last = parse_log(FILES / "caffe_train.log").train[-1]
    assert last.iteration == 30
    assert math.isnan(last.lr)
    assert last.outputs == {}


def test_tests_and_the_error_they_end_with() -> None:
    run = parse_log(FILES / "caffe_train.log")
    assert [(row.iteration, row.net) for row in run.test] == [(0, 0), (10, 0), (20, 0), (30, 0)]
    assert [row.outputs["accuracy"] for row in run.test] == [0.333333, 0.75, 0.583333, 1]
    assert [row.outputs["loss"] for row in run.test] == [19.4078, 15.637, 31.8137, 0]
    assert run.test[1].seconds == pytest.approx(13.123389 - 13.116340)
    assert run.test_error() == 0
    assert parse_log(FILES / "caffe_resume.log").test_error() == pytest.approx(100 * (1 - 0.833333))


def test_snapshots() -> None:
    first, second = parse_log(FILES / "caffe_train.log").snapshots
    assert (first.iteration, first.model, first.state) == (15, "tiny_iter_15.caffemodel", "tiny_iter_15.solverstate")
    assert second.iteration == 30
    assert first.seconds == pytest.approx(13.124883 - 13.116340)


def test_solver_parameters_as_text_and_as_message() -> None:
    run = parse_log(FILES / "caffe_train.log")
    assert run.solver_text.startswith("test_iter: 3\ntest_interval: 10\n")
    assert run.solver_text.endswith('stepvalue: 25\ntype: "Nesterov"\n')
    solver = run.solver()
    assert solver.max_iter == 30
    assert list(solver.stepvalue) == [15, 25]
    assert solver.train_state.level == 0


def test_a_resumed_run_in_a_file_of_its_own() -> None:
    run = parse_log(FILES / "caffe_resume.log")
    assert run.resumes == [15]
    assert [row.iteration for row in run.train] == [15, 20, 25, 30]
    assert run.train[0].loss == 0.579352
    assert run.test[0].outputs == {"accuracy": 0.625, "loss": 14.9748}


def test_iterations_done_again_replace_the_earlier_ones() -> None:
    run = parse_log(text_of("caffe_train.log") + text_of("caffe_resume.log"))
    assert run.resumes == [15]
    assert [row.iteration for row in run.train] == [0, 5, 10, 15, 20, 25, 30]
    assert [row.loss for row in run.train] == [
        *[1.08294, 0.809297, 0.426794],
        *[0.579352, 0.622661, 0.258317, 0.268773],
    ]
    assert [row.outputs["accuracy"] for row in run.test] == [0.333333, 0.75, 0.625, 0.833333]
    assert [row.iteration for row in run.snapshots] == [15, 30]
    assert run.start == datetime(2026, 11, 23, 4, 57, 13, 116340)


def test_seconds_of_a_resumed_run_count_on_from_the_snapshot() -> None:
    run = parse_log(text_of("caffe_train.log") + text_of("caffe_resume.log"))
    snapshot = 13.124883 - 13.116340
    assert run.train[3].seconds == pytest.approx(snapshot + 13.287626 - 13.287173)
    assert all(a.seconds < b.seconds for a, b in zip(run.train, run.train[1:], strict=False))


def test_a_run_begun_anew_in_the_same_file_is_the_run() -> None:
    both = parse_log(text_of("caffe_resume.log") + text_of("caffe_train.log"))
    assert both == parse_log(text_of("caffe_train.log"))


def test_a_session_that_died_before_its_first_iteration_changes_no_number() -> None:
    died = text_of("caffe_resume.log").partition("Starting Optimization")[0] + "\n"
    run, whole = parse_log(text_of("caffe_train.log") + died), parse_log(text_of("caffe_train.log"))
    assert (run.end, run.train, run.test, run.snapshots) == ("cut short", whole.train, whole.test, whole.snapshots)


def test_a_log_cut_anywhere_says_nothing_wrong() -> None:
    text, whole = text_of("caffe_train.log"), parse_log(FILES / "caffe_train.log")
    for length in range(text.index("Solving tiny") + 20, len(text) - 200, 41):
        run = parse_log(text[:length])
        assert run.end == "cut short"
        for rows, full in ((run.train, whole.train), (run.test, whole.test)):
            assert [row.iteration for row in rows] == [row.iteration for row in full[: len(rows)]]
            for row, other in zip(rows, full, strict=False):
                assert row.outputs.items() <= other.outputs.items()


def test_an_unfinished_number_is_not_read() -> None:
    text = text_of("caffe_train.log")
    run = parse_log(text[: text.index("accuracy = 0.583333") + len("accuracy = 0.58")])
    assert run.test[-1].iteration == 20
    assert run.test[-1].outputs == {}


def test_a_run_stopped_by_a_signal() -> None:
    text = text_of("caffe_train.log").replace(
        "solver.cpp:332] Optimization Done", "solver.cpp:322] Optimization stopped early"
    )
    assert parse_log(text).end == "stopped"


def test_old_prefixes_and_iteration_lines() -> None:
    text = old_prefix(text_of("caffe_train.log"))
    text = "Log file created at: 2015/11/23 04:57:13\n" + text.replace(" (5000 iter/s, 0.001s/5 iters)", "")
    text = text.replace("Snapshotting to binary proto file", "Snapshotting to")
    text = text.replace("Snapshotting solver state to binary proto file", "Snapshotting solver state to")
    run = parse_log(text)
    expected = parse_log(FILES / "caffe_train.log")
    assert run.start == datetime(2015, 11, 23, 4, 57, 13, 116340)
    assert run.train == expected.train
    assert run.test == expected.test
    assert run.snapshots == expected.snapshots


def test_old_prefixes_over_new_year() -> None:
    run = parse_log(
        "Log file created at: 2015/12/31 23:59:00\n"
        "I1231 23:59:50.000000  1234 solver.cpp:280] Solving LeNet\n"
        "I1231 23:59:58.500000  1234 solver.cpp:228] Iteration 0, loss = 2.3\n"
        "I0101 00:00:10.500000  1234 solver.cpp:228] Iteration 100, loss = 0.3\n"
    )
    assert run.net == "LeNet"
    assert [row.seconds for row in run.train] == [8.5, 20.5]


def test_a_leap_day_without_a_year() -> None:
    run = parse_log(
        "I0229 12:00:00.000000  1234 solver.cpp:280] Solving\nI0229 12:00:01.000000  1234 solver.cpp:228] "
        "Iteration 0, loss = 2.3\n"
    )
    assert (run.start.month, run.start.day) == (2, 29) if run.start else False


def test_garbage_between_and_around_lines() -> None:
    lines = text_of("caffe_train.log").splitlines(keepends=True)
    noise = ["libdc1394 error: Failed to initialize libdc1394\n", "\x00\xff binary \n", "\n", "I99999999 what: 3\n"]
    noisy = "".join(line + noise[i % 4] for i, line in enumerate(lines))
    run, clean = parse_log("[1,0]<stderr>:" + noisy), parse_log(FILES / "caffe_train.log")
    assert run == clean


def test_a_damaged_line_with_thousands_of_digits() -> None:
    text = text_of("caffe_train.log")
    damaged = text + f"I20261123 04:57:14.000000 1 solver.cpp:239] Iteration {'9' * 5000}, loss = 1\n"
    assert parse_log(damaged) == parse_log(text)


def test_windows_line_ends(tmp_path: Path) -> None:
    file = tmp_path / "windows.log"
    file.write_bytes(text_of("caffe_train.log").replace("\n", "\r\n").encode())
    assert parse_log(file) == parse_log(FILES / "caffe_train.log")


def test_losses_that_are_no_numbers() -> None:
    text = text_of("caffe_train.log").replace("= 0.426794", "= nan").replace("= 0.47452", "= -nan(ind)")
    text = text.replace("loss = 0.434483", "loss = 1.#QNAN").replace("loss = 31.8137", "loss = inf")
    run = parse_log(text)
    assert [row.iteration for row in run.train if math.isnan(row.loss)] == [10, 15, 20]
    assert run.test[2].outputs["loss"] == math.inf


def test_a_blob_of_several_numbers_and_several_test_nets() -> None:
    run = parse_log(
        "I20260101 00:00:00.000000  1234 solver.cpp:289] Solving two\n"
        "I20260101 00:00:01.000000  1234 solver.cpp:347] Iteration 0, Testing net (#0)\n"
        "I20260101 00:00:02.000000  1234 solver.cpp:394] Test loss: 1.5\n"
        "I20260101 00:00:02.000000  1234 solver.cpp:414]     Test net output #0: accuracy = 0.5\n"
        "I20260101 00:00:02.000000  1234 solver.cpp:414]     Test net output #1: per_class = 0.25\n"
        "I20260101 00:00:02.000000  1234 solver.cpp:414]     Test net output #2: per_class = 0.75\n"
        "I20260101 00:00:02.000000  1234 solver.cpp:347] Iteration 0, Testing net (#1)\n"
        "I20260101 00:00:03.000000  1234 solver.cpp:414]     Test net output #0: accuracy = 0.875\n"
    )
    first, second = run.test
    assert first.outputs == {"accuracy": 0.5, "per_class": 0.25, "per_class[1]": 0.75}
    assert first.loss == 1.5
    assert (second.net, second.outputs) == (1, {"accuracy": 0.875})
    assert run.test_error(0) == 50
    assert run.test_error(1) == 12.5
    assert run.test_error(2) is None


def of_a_blob(numbers: int) -> str:
    line = "I20260101 00:00:02.000000  1234 solver.cpp:414]     Test net output #{}: prob = 0.5\n"
    text = "I20260101 00:00:01.000000  1234 solver.cpp:347] Iteration 0, Testing net (#0)\n"
    return text + "".join(map(line.format, range(numbers)))


def test_a_blob_of_twice_as_many_numbers_takes_twice_the_work(lines_run: Callable[[Callable[[], object]], int]) -> None:
    (row,) = parse_log(of_a_blob(10_000)).test
    assert (len(row.outputs), row.outputs["prob"], row.outputs["prob[9999]"]) == (10_000, 0.5, 0.5)
    once, twice = (lines_run(lambda n=n: parse_log(of_a_blob(n))) for n in (400, 800))
    assert twice < 2.1 * once


def test_the_log_of_caffe_test() -> None:
    run = parse_log(FILES / "caffe_test.log")
    assert run.net == "tiny"
    assert run.end == "finished"
    (row,) = run.test
    assert row.outputs == {"accuracy": 0.833333, "loss": 13.8521}
    assert row.loss == 13.8521


def test_the_log_of_caffe_time_holds_no_rows() -> None:
    run = parse_log(FILES / "caffe_time.log")
    assert run.net == "tiny"
    assert run.train == run.test == []


def test_which_output_is_the_accuracy() -> None:
    assert accuracy({"loss": 1.0, "accuracy": 0.5, "acc_top5": 0.75}) == 0.5
    assert accuracy({"acc/top5": 0.75, "accuracy": 0.5}) == 0.5
    assert accuracy({"loss": 1.0, "Accuracy1": 0.25}) == 0.25
    assert accuracy({"loss": 1.0}) is None


def test_a_missing_file_and_one_that_is_no_log(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        parse_log(tmp_path / "none.log")
    empty = tmp_path / "empty.log"
    empty.write_text("hello\n")
    with pytest.raises(DataError, match=r"empty\.log: holds no line of a Caffe log"):
        parse_log(empty)


def test_what_it_trained_on() -> None:
    """BVLC Caffe's own word, one process on each GPU; sdcaffe's word on processes that torchrun started."""
    text = text_of("caffe_train.log")
    assert "Use CPU." in text
    assert (parse_log(text).devices, parse_log(text).processes) == (["CPU"], 1)
    on_gpus = parse_log(text.replace("Use CPU.", "Using GPUs 0, 1, 3"))
    assert (on_gpus.devices, on_gpus.processes) == (["GPU"], 3)
    silent = parse_log(text.replace("Use CPU.", "Something else"))
    assert (silent.devices, silent.processes) == ([], 1)
    line = next(line for line in text.splitlines() if "Creating training net" in line)
    started = f"{line.partition('] ')[0]}] Training in 4 processes\n{line}"
    assert parse_log(text.replace(line, started)).processes == 4


def test_a_run_that_goes_on_elsewhere_trained_on_both() -> None:
    """The line on devices stands before the solver's, so behind the session before."""
    first, second = text_of("caffe_train.log"), text_of("caffe_resume.log")
    moved = second.replace("Use CPU.", "Using GPUs 2")
    assert moved != second
    run = parse_log(first + moved)
    assert (run.devices, run.processes, run.resumes) == (["CPU", "GPU"], 1, [15])
    assert parse_log(first + second).devices == ["CPU"]
    assert parse_log(moved + first).devices == ["CPU"]  # that one began anew


@pytest.mark.parametrize("stamp", [-1e18, -(2.0**40), -5, 0, 2.0**34, 1e14, 1e18])
def test_a_time_stamp_that_no_calendar_has(stamp: float, tmp_path: Path) -> None:
    """Some file systems, as tmpfs, keep any."""
    place = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else tmp_path
    path = place / f"stamped{os.getpid()}.log"
    path.write_text(old_prefix(text_of("caffe_train.log")))
    try:
        with suppress(OSError, OverflowError):
            os.utime(path, (stamp, stamp))
        assert [row.iteration for row in parse_log(path).train] == [0, 5, 10, 15, 20, 25, 30]
    finally:
        path.unlink()


def test_a_log_beyond_all_runs_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "l.log").touch()
    os.truncate(tmp_path / "l.log", (1 << 31) + 1)
    with pytest.raises(DataError, match="at most 2147483648 are read"):
        parse_log(tmp_path / "l.log")
