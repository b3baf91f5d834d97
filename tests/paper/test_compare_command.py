"""`sdcaffe compare` as a command: what it writes, and where it looks for logs."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from compare_logs import BASELINE, DISTILLED

from sdcaffe import layers
from sdcaffe.cli import main
from sdcaffe.errors import DataError
from sdcaffe.paper.compare import compare


@pytest.fixture(autouse=True)
def known_layers() -> None:
    layers.discover()


def test_the_command_writes_csv_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i, log in enumerate((BASELINE, DISTILLED, replace(DISTILLED.with_seed(2, 0.1, 0.2, 0.3), until=110_000))):
        (tmp_path / f"{i}.log").write_text(log.text())
    tables, content = tmp_path / "out.csv", tmp_path / "out.json"
    assert main(["compare", str(tmp_path), "--csv", str(tables), "--json", str(content)]) == 0
    printed = capsys.readouterr().out
    assert re.search(
        r"ResNet-32 +CIFAR-100 +baseline +31\.01 +31\.00 +30\.00 +1 +-0\.01 +156,250 iterations\n", printed
    )
    assert "Cut short, so no results:" in printed
    with open(tables, newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 79
    distilled = next(line for line in lines if (line["table"], line["mechanism"]) == ("1", "self-distilled"))
    assert (distilled["status"], distilled["last_top1_error"], distilled["top1_difference"]) == (
        "measured",
        "28.0",
        "-0.22",
    )
    assert distilled["iterations"] == "156250 110000"
    whole = json.loads(content.read_text())
    assert len(whole["published"]) == 79
    assert [run["finished"] for run in whole["runs"]] == [True, True, False]
    assert whole["runs"][2]["error_so_far"] == pytest.approx(80)
    assert "last_error" not in whole["runs"][2]
    assert whole["runs"][1]["settings"]["KL gradient"] == "printed"


def test_without_arguments_the_projects_own_runs_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runs = tmp_path / "reference_logs" / "runs"
    runs.mkdir(parents=True)
    (runs / "a").write_text(BASELINE.text())
    assert main(["compare", "--json", "out.json"]) == 0
    assert len(json.loads(Path("out.json").read_text())["runs"]) == 1


def test_in_a_folder_without_runs_the_published_values_stand_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["compare"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines if line.startswith("Table ")] == [f"Table {n}" for n in range(1, 7)]
    assert ["ResNet-32", "CIFAR-100", "baseline", "31.01"] in [line.split() for line in lines]


@pytest.mark.parametrize(
    ("flag", "first", "last"),
    [("--json", "{", "}"), ("--csv", "table,", ""), ("--html", "<!DOCTYPE html>", "</html>")],
)
def test_standard_output_takes_one_output_and_the_words_go_beside(
    flag: str,
    first: str,
    last: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["compare", flag, "-"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith(first)
    assert printed.out.rstrip().endswith(last)
    assert "Table 1:" in printed.err
    assert not list(tmp_path.iterdir())
    assert main(["compare", "--json", "-", "--csv", "-"]) == 2
    assert '"-" is standard output, which takes one of them' in capsys.readouterr().err


def test_a_missing_log_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DataError, match="there is no such log or folder"):
        compare(["nowhere.log"])
    assert main(["compare", "nowhere.log"]) == 1
    assert "nowhere.log: there is no such log or folder" in capsys.readouterr().err


def test_no_output_takes_the_place_of_a_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "a.log"
    log.write_text(BASELINE.text())
    assert main(["compare", str(tmp_path), "--html", str(log)]) == 2
    assert "a.log would be overwritten, but it is read" in capsys.readouterr().err
    assert log.read_text() == BASELINE.text()
