from __future__ import annotations

import io
import logging
import os
import re
import threading
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from sdcaffe.errors import SnapshotError
from sdcaffe.log import glog, number, parse_log, setup, started

FILES = Path(__file__).parents[1] / "goldens" / "files"
LINE = re.compile(r"^[IWEF]\d{4} \d\d:\d\d:\d\d\.\d{6} [ \d]{4,}\d \S+:\d+\] ")


def test_lines_have_the_shape_of_caffes() -> None:
    recorded = (FILES / "caffe_train.log").read_text()
    assert LINE.match(recorded.replace("I2026", "I", 1))  # as a glog of Caffe's time writes it
    stream = io.StringIO()
    with setup(stream=stream):
        glog("solver.cpp:289", "Solving tiny")
    line = stream.getvalue()
    assert LINE.match(line)
    assert line.endswith(f"{threading.get_native_id():5d} solver.cpp:289] Solving tiny\n")


@pytest.mark.parametrize(
    ("level", "letter"),
    [(logging.INFO, "I"), (logging.WARNING, "W"), (logging.ERROR, "E"), (logging.CRITICAL, "F")],
)
def test_severity_is_the_first_letter(level: int, letter: str) -> None:
    stream = io.StringIO()
    with setup(stream=stream):
        glog("net.cpp:53", "message", level)
    assert stream.getvalue()[0] == letter


def test_a_message_of_many_lines_has_one_prefix_and_no_empty_line() -> None:
    text = 'Initializing net from parameters: \nname: "tiny"\nstate {\n  phase: TEST\n}\n'
    stream = io.StringIO()
    with setup(stream=stream):
        glog("net.cpp:53", lambda: text)
        glog("net.cpp:86", "100% done")
    lines = stream.getvalue().split("\n")
    assert [bool(LINE.match(line)) for line in lines] == [True, False, False, False, False, True, False]
    assert lines[1:5] == ['name: "tiny"', "state {", "  phase: TEST", "}"]
    assert lines[5].endswith("100% done")


def test_a_costly_message_is_made_only_for_a_listener() -> None:
    calls: list[str] = []

    def costly() -> str:
        calls.append("made")
        return "costly"

    glog("net.cpp:53", costly)
    assert not calls


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.float32(1.0829418), "1.08294"),  # caffe_train.log has each of these forms
        (np.float32(1 / 3), "0.333333"),
        (1.0, "1"),
        (0.0001, "0.0001"),
        (1e-05, "1e-05"),
        (5000 / 3, "1666.67"),
        (-6.7963e-41, "-6.7963e-41"),
        (31.8137, "31.8137"),
        (1234567.0, "1.23457e+06"),
        (1234567, "1234567"),
        (float("inf"), "inf"),
        (float("nan"), "nan"),
    ],
)
def test_numbers_as_a_stream_of_cpp_prints_them(value: float, text: str) -> None:
    assert number(value) == text


def test_the_file_gets_the_same_lines_and_makes_its_folder(tmp_path: Path) -> None:
    stream, file = io.StringIO(), tmp_path / "runs" / "tiny.log"
    with setup(file, stream):
        glog("solver.cpp:289", "Solving tiny")
    assert file.read_text().split("\n", 2)[2] == stream.getvalue()


def test_caffes_own_script_can_read_the_dates(tmp_path: Path) -> None:
    """Its extract_seconds.py takes the month from characters 1 and 2, the day from those that follow."""
    file, before = tmp_path / "tiny.log", datetime.now()
    with setup(file, io.StringIO()):
        glog("solver.cpp:289", "Solving tiny")
    day, clock = file.read_text().splitlines()[-1].split()[:2]
    assert before <= datetime.strptime(f"{before.year} {day[1:3]} {day[3:]} {clock}", "%Y %m %d %H:%M:%S.%f")


def test_the_year_is_in_the_files_header(tmp_path: Path) -> None:
    file, before = tmp_path / "tiny.log", datetime.now()
    for append in (False, True):
        with setup(file, io.StringIO(), append=append):
            glog("solver.cpp:289", "Solving tiny")
    os.utime(file, (0, 0))
    start = parse_log(file).start
    assert start is not None
    assert before <= start <= datetime.now()
    assert re.sub(r"\d", "0", file.read_text()).count("Log file created at: 0000/00/00 00:00:00\n") == 2


def test_a_resumed_run_appends_after_a_line_that_was_cut(tmp_path: Path) -> None:
    file = tmp_path / "tiny.log"
    recorded = (FILES / "caffe_train.log").read_text()
    file.write_text(recorded[: recorded.index("Iteration 25 (5000") + 20])
    with setup(file, io.StringIO(), append=True):
        glog("caffe.cpp:235", "Resuming from tiny_iter_15.solverstate")
    assert file.read_text().split("\n")[-2].endswith("] Resuming from tiny_iter_15.solverstate")
    assert parse_log(file).train[-1].iteration == 20


def test_a_new_run_keeps_the_log_that_was_there(tmp_path: Path) -> None:
    file = tmp_path / "tiny.log"
    file.write_text("old\n")
    with setup(file, io.StringIO()):
        glog("solver.cpp:289", "Solving tiny")
    assert "old" not in file.read_text()
    assert (tmp_path / "tiny.log.previous").read_text() == "old\n"


@pytest.mark.parametrize("append", [False, True])
def test_runs_that_fail_before_they_begin_leave_the_log_of_the_one_before(append: bool, tmp_path: Path) -> None:
    file = tmp_path / "tiny.log"
    with setup(file, io.StringIO()):
        glog("solver.cpp:239", "Iteration 0, loss = 1.5")
    before = file.read_bytes()
    for _ in range(3):
        stream = io.StringIO()
        with suppress(SnapshotError), setup(file, stream, append=append):
            glog("solver.cpp:44", "Initializing solver")
            raise SnapshotError("no such file", where="a.caffemodel")
        assert "Initializing solver" in stream.getvalue()
    assert file.read_bytes() == before
    assert os.listdir(tmp_path) == ["tiny.log"]


def test_the_log_of_one_that_never_began_makes_way_for_the_next(tmp_path: Path) -> None:
    file = tmp_path / "tiny.log"
    for name in "ab":
        with pytest.raises(SnapshotError), setup(file, io.StringIO()):
            raise SnapshotError("no such file", where=f"{name}.caffemodel")
        assert file.read_text().endswith(f"] {name}.caffemodel: no such file\n")


@pytest.mark.parametrize("append", [False, True])
def test_what_was_said_before_a_run_began_stands_in_its_log(append: bool, tmp_path: Path) -> None:
    file = tmp_path / "tiny.log"
    old = "I1123 04:57:13.105028 21503 solver.cpp:239] Iteration 0, loss = 1.5\n"
    file.write_text(old)
    with suppress(SnapshotError), setup(file, io.StringIO(), append=append):
        glog("solver.cpp:44", "Initializing solver")
        assert file.read_text() == old
        started()
        glog("solver.cpp:239", "Iteration 10, loss = 1.25")
        raise SnapshotError("the disk is full", where="a.caffemodel")
    said = [line.partition("] ")[2] for line in file.read_text().splitlines() if line[0] in "IE"]
    now = ["Initializing solver", "Iteration 10, loss = 1.25", "a.caffemodel: the disk is full"]
    assert said == [*(["Iteration 0, loss = 1.5"] if append else []), *now]
    assert (tmp_path / "tiny.log.previous").exists() is not append


def test_the_error_that_ends_a_run_is_the_last_line_of_its_log(tmp_path: Path) -> None:
    stream, file = io.StringIO(), tmp_path / "tiny.log"
    with pytest.raises(SnapshotError), setup(file, stream):
        raise SnapshotError("cut short", where="tiny_iter_15.solverstate")
    assert file.read_text().endswith("] tiny_iter_15.solverstate: cut short\n")
    assert file.read_text().splitlines()[-1][0] == "E"
    assert stream.getvalue() == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_a_full_disk_is_told_once_and_ends_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tiny.log").symlink_to("/dev/full")
    stream = io.StringIO()
    with setup(tmp_path / "tiny.log", stream, append=True):
        for i in range(3):
            glog("solver.cpp:239", f"Iteration {i}, loss = 1.5")
    assert [i for i in range(3) if f"Iteration {i}, loss = 1.5" in stream.getvalue()] == [0, 1, 2]
    told = [line for line in stream.getvalue().splitlines() if "Iteration" not in line]
    assert told == [f"sdcaffe: warning: {tmp_path / 'tiny.log'}: the log cannot be written: No space left on device"]
    assert capsys.readouterr().err == ""


def test_a_bug_leaves_its_traceback_in_the_log(tmp_path: Path) -> None:
    file = tmp_path / "tiny.log"
    with pytest.raises(ZeroDivisionError), setup(file, io.StringIO()):
        raise ZeroDivisionError("division by zero")
    assert "Traceback" in file.read_text()
    assert file.read_text().endswith("ZeroDivisionError: division by zero\n")


def test_nothing_stays_behind() -> None:
    logger = logging.getLogger("sdcaffe")
    before = logger.level, logger.propagate, list(logger.handlers)
    with setup(stream=io.StringIO()):
        pass
    assert (logger.level, logger.propagate, list(logger.handlers)) == before


def test_our_lines_are_read_again_as_caffes(tmp_path: Path) -> None:
    """Every message of a recorded run, written by us, gives the rows of the recording."""
    file = tmp_path / "tiny.log"
    recorded = (FILES / "caffe_train.log").read_text()
    starts = [match.start() for match in re.finditer(r"(?m)^I2026", recorded)]
    with setup(file, io.StringIO()):
        for start, end in zip(starts, [*starts[1:], len(recorded)], strict=True):
            match = re.match(r"\S+ \S+ +\d+ (\S+)\] (.*)", recorded[start:end], re.DOTALL)
            assert match
            glog(match[1], match[2])
    ours, caffes = parse_log(file), parse_log(FILES / "caffe_train.log")
    assert [(row.iteration, row.loss, row.outputs) for row in ours.train] == [
        (row.iteration, row.loss, row.outputs) for row in caffes.train
    ]
    assert ours.solver_text == caffes.solver_text
    assert [row.outputs for row in ours.test] == [row.outputs for row in caffes.test]
