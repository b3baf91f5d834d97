"""The tables and pictures of the pages are what the logs say: current, and right by numpy over the logs' own lines."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sdcaffe.errors import DataError
from sdcaffe.layers import discover
from sdcaffe.paper.results import PAGES, pictures, written

ROOT = Path(__file__).parents[2]
discover()


@pytest.fixture(autouse=True)
def at_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_says_what_the_logs_say(page):
    text = Path(page).read_text(encoding="utf-8")
    assert text.count("<!-- made: ") == text.count("<!-- /made -->") > 0
    assert written(text, page) == text, "run `make results`"


def test_the_pictures_are_those_of_the_logs():
    stale = [path for path, text in pictures().items() if Path(path).read_text(encoding="utf-8") != text]
    assert not stale, "run `make results`"


def made(name: str) -> list[list[str]]:
    """The cells of a table, made anew, below its head."""
    lines = written(f"<!-- made: {name} -->\n<!-- /made -->", "page").splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")][2:]


def last_error(log: Path) -> float:
    return 100 * (1 - float(re.findall(r"Test net output #\d: accuracy = (\S+)", log.read_text())[-1]))


def test_the_quickstart_is_its_logs():
    for arm, file in (("baseline", "baseline"), ("self-distilled", "self_distilled")):
        (row,) = [row for row in made("quickstart") if row[0] == arm]
        errors = [last_error(log) for log in sorted(Path("reference_logs/runs/quickstart").glob(f"{file}_seed?.log"))]
        assert row[1:-1] == [f"{error:.2f}" for error in errors]
        assert row[-1] == f"{np.mean(errors):.2f} ± {np.std(errors, ddof=1):.2f}"


def test_the_study_is_its_logs():
    for name, file in (("baseline", "baseline"), ("two branches, KL of Hinton", "two_branch_kl_hinton")):
        (row,) = [row for row in made("study") if row[0] == name]
        logs = [log.read_text() for log in Path("reference_logs/runs/study2").glob(f"{file}_seed*.log")]
        assert row[1] == f"{len(logs)} of 16"
        for column, (measure, factor, digits) in enumerate((("ece", 1, 3), ("nll", 1, 3), ("error", 100, 2)), start=2):
            values = [factor * float(re.findall(rf": {measure} = (\S+)", log)[-1]) for log in logs]
            deviation = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
            assert row[column] == (f"{np.mean(values):.{digits}f}{deviation}" if values else "")


def test_single_directions_are_their_file():
    with open("reference_logs/runs/quickstart/reliance.csv", newline="") as file:
        lines = [line for line in csv.DictReader(file) if line["trained"].endswith("baseline")]
    nets = sorted({line["net"] for line in lines})
    at = {point: [np.mean([100 * float(line["accuracy"]) for line in lines
                           if line["net"] == net and int(line["clamped"]) == point]) for net in nets]
          for point in (0, 24)}  # fmt: skip
    (row,) = [row for row in made("directions") if row[0] == "baseline"]
    for cell, point in zip(row[1:3], (0, 24), strict=True):
        assert cell == f"{np.mean(at[point]):.2f} ± {np.std(at[point], ddof=1):.2f}"


def test_sizes_of_gradients_are_their_file():
    with open("reference_logs/gradients.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    for line, row in zip(lines, made("gradients-of-mmd"), strict=True):
        assert row[:2] == [line["net"], line["state"]]
        assert [float(cell) for cell in row[2:]] == pytest.approx(
            [float(line["mmd"]) * 0.0005 * factor for factor in (1, 64, 4096)], rel=0.05
        )


def test_a_table_that_there_is_not():
    with pytest.raises(DataError, match=r'unknown table "studdy"\. Did you mean "study"'):
        written("<!-- made: studdy -->\n<!-- /made -->", "page.md")


def test_the_page_says_how_many_intervals_its_table_has():
    said = re.search(r"There are (\d+) intervals in that table", Path("docs/results.md").read_text(encoding="utf-8"))
    assert said
    assert int(said[1]) == sum(cell.count(" to ") for cells in made("study-differences") for cell in cells)


def test_logs_of_the_papers_layers_are_known_where_nothing_else_was_brought_in():
    program = (
        "from sdcaffe.paper.compare import compare\n"
        "print([run.reason for run in compare(['reference_logs/runs/quickstart_taught/peer_seed1.log']).others])"
    )
    said = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "which names none of CIFAR-10" in said
