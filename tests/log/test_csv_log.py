"""The files in caffe_csv are what Caffe's tools/extra/parse_log.py makes of the same logs, with glog's older dates."""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path

import pytest

from sdcaffe.cli import main

HERE = Path(__file__).parent
FILES = HERE.parent / "goldens" / "files"
TRAIN = (FILES / "caffe_train.log").read_text()


def second_test_net(*names: str) -> str:
    """The recorded run with a second test net, whose outputs have these names and made-up values."""
    lines = []
    iteration = "0"
    for line in TRAIN.splitlines(keepends=True):
        lines.append(line)
        if match := re.search(r"Iteration (\d+), Testing", line):
            iteration = match[1]
        if match := re.match(r"(.*solver.cpp:)\d+\]     Test net output #1: loss", line):
            lines.append(f"{match[1]}347] Iteration {iteration}, Testing net (#1)\n")
            for j, name in enumerate(names):
                value = 0.25 + j + int(iteration) / 100
                lines.append(f"{match[1]}414]     Test net output #{j}: {name} = {value:g}\n")
    return "".join(lines)


def cut() -> str:
    """The recorded run, whose log ends inside its third test."""
    at = TRAIN.index("Test net output #1", TRAIN.index("Iteration 20, Testing"))
    return TRAIN[: TRAIN.rindex("\n", 0, at) + 1]


LOGS = {
    "caffe_train.log": TRAIN,
    "caffe_resume.log": (FILES / "caffe_resume.log").read_text(),
    "other_names.log": second_test_net("top5", "cost"),
    "same_names.log": second_test_net("accuracy", "loss"),
    "several.log": second_test_net("per_class", "per_class", "per_class"),
    "cut.log": cut(),
}


@pytest.mark.parametrize("old_dates", [False, True])
@pytest.mark.parametrize("name", LOGS)
def test_the_files_are_those_of_caffes_script(name: str, old_dates: bool, tmp_path: Path) -> None:
    text = re.sub(r"(?m)^([IWEF])20\d\d", r"\1", LOGS[name]) if old_dates else LOGS[name]
    (tmp_path / name).write_text(text)
    assert main(["parse-log", str(tmp_path / name), str(tmp_path / "out")]) == 0
    for kind in ("train", "test"):
        expected = (HERE / "caffe_csv" / f"{name}.{kind}").read_bytes()
        assert (tmp_path / "out" / f"{name}.{kind}").read_bytes() == expected


def test_flags_of_the_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = FILES / "caffe_train.log"
    assert main(["parse_log", str(log), str(tmp_path), "--delimiter", r"\t", "--verbose"]) == 0
    assert (
        capsys.readouterr().out
        == f"Wrote {tmp_path / 'caffe_train.log.train'}\nWrote {tmp_path / 'caffe_train.log.test'}\n"
    )
    expected = (HERE / "caffe_csv" / "caffe_train.log.test").read_text()
    assert (tmp_path / "caffe_train.log.test").read_text() == expected.replace(",", "\t")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_what_the_script_would_lose(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One row alone, and numbers that are none."""
    text = TRAIN[: TRAIN.index("] Iteration 5 (")].replace(
        "Train net output #0: loss = 1.08294", "Train net output #0: loss = nan"
    )
    (tmp_path / "short.log").write_text(text[: text.rindex("\n") + 1])
    assert main(["parse-log", str(tmp_path / "short.log"), str(tmp_path)]) == 0
    (train,), (test,) = rows(tmp_path / "short.log.train"), rows(tmp_path / "short.log.test")
    assert math.isnan(float(train["loss"]))
    assert test["accuracy"] == "0.333333"


def test_a_log_without_tests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.log").write_text(re.sub(r"(?m)^.*(Testing net|Test net output).*\n", "", TRAIN))
    assert main(["parse-log", str(tmp_path / "x.log"), str(tmp_path), "--verbose"]) == 0
    assert f"Not writing {tmp_path / 'x.log.test'}; no lines to write\n" in capsys.readouterr().out
    assert not (tmp_path / "x.log.test").exists()
    assert len(rows(tmp_path / "x.log.train")) == 6


@pytest.mark.parametrize(
    ("log", "flags", "message"),
    [
        (FILES / "list.txt", [], "holds no line of a Caffe log"),
        (FILES / "none.log", [], "cannot read the log: No such file or directory"),
        (FILES / "caffe_train.log", ["--delimiter", "ab"], "a delimiter is one character, not 'ab'"),
    ],
)
def test_mistakes(
    log: Path, flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["parse-log", str(log), str(tmp_path), *flags]) == 1
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_table_of_too_many_cells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = "I1129 11:39:27.339186  5254 solver.cpp:"
    rows = [f"{line}{at}\n" for at in ("239] Iteration 0, loss = 1", "258]     Train net output #0: loss = 1")]
    rows.append(f"{line}239] Iteration 1, loss = 1\n")
    rows += [f"{line}258]     Train net output #{i}: o{i} = 1\n" for i in range(20_000)]
    (tmp_path / "x.log").write_text("".join(rows))
    assert main(["parse-log", str(tmp_path / "x.log"), str(tmp_path)]) == 1
    assert re.search(r"error: .*a table of \d+ rows and \d+ columns; too many", capsys.readouterr().err)
    assert [path.name for path in tmp_path.iterdir()] == ["x.log"]
