"""What compare says of the measures of predictions that logs hold, against scipy's intervals."""

from __future__ import annotations

import csv
import json
import statistics
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from compare_logs import BASELINE, DISTILLED
from scipy import stats

from sdcaffe import layers
from sdcaffe.cli import main

layers.discover()

ECE = {"base": [0.15, 0.17, 0.16], "twice": [0.31, 0.33, 0.35], "distilled": [0.14, 0.15, 0.16]}


def with_ece(text: str, ece: float) -> str:
    """The log with a line more behind the last test's accuracy."""
    head, accuracy, tail = text.rpartition("Test net output #0: accuracy")
    line, end, rest = tail.partition("\n")
    prefix = head.rpartition("\n")[2]
    return f"{head}{accuracy}{line}{end}{prefix}Test net output #7: ece = {ece}\n{rest}"


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    twice = BASELINE.text().replace("batch_size: 64", "batch_size: 128")
    assert twice != BASELINE.text()
    for name, log in (("base", BASELINE), ("twice", BASELINE), ("distilled", DISTILLED)):
        for seed, ece in enumerate(ECE[name], start=1):
            text = with_ece(replace(log, seed=seed, accuracies=(0.2, 0.7, 0.69 + seed / 100)).text(), ece)
            if name == "twice":
                text = text.replace("batch_size: 64", "batch_size: 128")
            (tmp_path / f"{name}{seed}.log").write_text(text)
    return tmp_path


def test_means_and_intervals_stand_in_text_html_csv_and_json(logs, capsys):
    outputs = [logs / f"out.{ending}" for ending in ("csv", "json", "html")]
    flags = [part for path in outputs for part in (f"--{path.suffix[1:]}", str(path))]
    assert main(["compare", *map(str, sorted(logs.glob("*.log"))), *flags]) == 0
    text = capsys.readouterr().out.partition("What predictions are worth")[2]
    assert "0.160 ± 0.010" in text
    assert "0.150 ± 0.010" in text
    against = {}
    for base in ("base", "twice"):
        difference = np.array(ECE["distilled"]) - np.array(ECE[base])
        found = stats.ttest_1samp(difference, 0).confidence_interval(0.95)
        against[base] = f"{difference.mean():+.3f} ({found.low:+.3f} to {found.high:+.3f})"
        assert against[base] in text
    assert against["base"] in outputs[2].read_text()
    (row,) = [
        row
        for row in csv.DictReader(outputs[0].read_text().splitlines())
        if row["table"] == "3" and row["ece"] == "0.15"
    ]
    assert float(row["ece_deviation"]) == pytest.approx(statistics.stdev(ECE["distilled"]))
    runs = json.loads(outputs[1].read_text())["runs"]
    assert sorted(run["last_test"]["ece"] for run in runs) == sorted(ece for each in ECE.values() for ece in each)


def test_measures_and_errors_are_of_the_first_test_net(tmp_path, capsys):
    text = with_ece(replace(BASELINE, seed=1).text(), 0.16)
    _, sign, last = text.rpartition("I0423")
    tests = "".join(line for line in text.splitlines(keepends=True) if "156250, Testing" in line or "ece" in line)
    other = tests.replace("(#0)", "(#1)").replace("ece = 0.16", "ece = 0.71")
    assert other.count("\n") == 2
    (tmp_path / "two.log").write_text(text.removesuffix(sign + last) + other + sign + last)
    assert main(["compare", str(tmp_path / "two.log"), "--json", str(tmp_path / "two.json")]) == 0
    said = capsys.readouterr().out.partition("What predictions are worth")[2]
    assert "0.160" in said
    assert "0.71" not in said
    (run,) = json.loads((tmp_path / "two.json").read_text())["runs"]
    assert run["last_test"] == {"accuracy": 0.69, "ece": 0.16}
