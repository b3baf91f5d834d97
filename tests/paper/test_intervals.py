"""Intervals of differences against scipy's, and where they are shown."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from compare_logs import BASELINE, DISTILLED
from scipy import stats

from sdcaffe import layers
from sdcaffe.cli import main
from sdcaffe.paper.compare.intervals import between, t_quantile

layers.discover()


@pytest.mark.parametrize("freedom", [1, 1.3, 2, 4.57, 9, 30, 200])
def test_the_quantile_of_student_s_distribution(freedom: float) -> None:
    assert t_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-6)


def test_runs_that_share_seeds_are_paired() -> None:
    first = {1: 31.2, 2: 30.1, 3: 30.9, 4: 31.5, 9: 50.0}
    second = {4: 29.9, 1: 29.0, 2: 28.8, 3: 29.3, 8: 10.0}
    found = between(list(first.items()), list(second.items()))
    a, b = (np.array([values[seed] for seed in (1, 2, 3, 4)]) for values in (first, second))
    expected = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert found is not None
    assert (found.mean, found.low, found.high) == pytest.approx(((a - b).mean(), expected.low, expected.high))
    assert found.by == "4 pairs of seeds"


def test_other_runs_are_compared_as_welch_did() -> None:
    first, second = [31.2, 30.1, 30.9], [29.0, 28.8, 29.3, 27.1, 28.0]
    found = between([(i, x) for i, x in enumerate(first)], [(None, x) if i else (0, x) for i, x in enumerate(second)])
    expected = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.by == "Welch, 3 and 5 runs"


def test_single_runs_have_no_interval() -> None:
    assert between([(1, 31.0)], [(1, 30.0)]) is None
    assert between([(1, 31.0), (2, 30.5)], [(3, 30.0)]) is None


def test_differences_stand_in_text_html_csv_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Errors 31 and 32 without, 28 and 28.5 with: 3 and 3.5 points less, 3.25 in the mean, deviation 0.354."""
    for log, ends in ((BASELINE, (0.69, 0.68)), (DISTILLED, (0.72, 0.715))):
        for seed, end in enumerate(ends, start=1):
            (tmp_path / f"{log.branches}{seed}.log").write_text(log.with_seed(seed, 0.5, end).text())
    half = replace(BASELINE.with_seed(1, 0.9), solver={"precision": '"bf16"'})  # of another precision: not compared
    (tmp_path / "bf16.log").write_text(half.text())
    outputs = [tmp_path / f"out.{ending}" for ending in ("csv", "json", "html")]
    flags = [part for path in outputs for part in (f"--{path.suffix[1:]}", str(path))]
    assert main(["compare", str(tmp_path), *flags]) == 0
    shown = "-3.25  -6.43 to -0.07"  # 12.706 * 0.3536 / sqrt(2) = 3.177
    printed = capsys.readouterr().out
    assert shown in printed
    assert "2 pairs of seeds" in printed
    assert "-6.43 to -0.07" in outputs[2].read_text()
    with open(outputs[0], newline="") as file:
        lines = [line for line in csv.DictReader(file) if line["mechanism"] == "self-distilled" and line["runs"] == "2"]
    assert {(line["baseline_difference"], line["baseline_difference_low"]) for line in lines} == {("-3.25", "-6.42655")}
    (difference,) = json.loads(outputs[1].read_text())["differences"]
    assert (difference["mechanism"], difference["against"]) == ("self-distilled", "baseline")
    assert (difference["title"], difference["against_title"]) == ("self-distilled", "baseline")
    assert difference["high"] == pytest.approx(-3.25 + stats.t.ppf(0.975, 1) * 0.25, rel=1e-5)
