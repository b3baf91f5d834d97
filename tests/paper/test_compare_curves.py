"""Which logs are one curve, what the curves are called, and the losses of the paper by the layers that make them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from compare_logs import BASELINE, DISTILLED, Log

from sdcaffe import layers
from sdcaffe.cli import main
from sdcaffe.log import Run, parse_log
from sdcaffe.paper import published
from sdcaffe.paper.compare import read_runs
from sdcaffe.paper.compare.curves import DIVERGENCES, curves_of

ROOT = Path(__file__).parents[2]
DISTILLED_LOG = ROOT / "reference_logs" / "runs" / "quickstart" / "self_distilled_seed1.log"


@pytest.fixture(autouse=True)
def known_layers() -> None:
    layers.discover()


def named(folder: Path, *logs: Log) -> tuple[str, list[tuple[str, list[Run]]]]:
    for i, log in enumerate(logs):
        (folder / f"{i}.log").write_text(log.text())
    return curves_of(read_runs([folder], published.load()))


def test_logs_that_differ_by_their_seed_are_one_curve(tmp_path: Path) -> None:
    sharp = replace(DISTILLED, temperature=2, day="0601")
    title, groups = named(tmp_path, DISTILLED, sharp, BASELINE.with_seed(1, 0.7), BASELINE.with_seed(2, 0.6))
    assert title == "ResNet-32, CIFAR-100"
    assert [(name, len(runs)) for name, runs in groups] == [
        ("baseline", 2),
        ("self-distilled, temperature 3", 1),
        ("self-distilled, temperature 2", 1),
    ]


def test_baselines_are_called_by_what_tells_them_apart_or_by_their_files(tmp_path: Path) -> None:
    title, groups = named(tmp_path, BASELINE, replace(BASELINE, solver={"momentum": 0.8}, day="0601"))
    assert (title, [name for name, _ in groups]) == ("ResNet-32, CIFAR-100", ["momentum 0.9", "momentum 0.8"])
    (tmp_path / "1.log").unlink()
    assert [name for name, _ in named(tmp_path, BASELINE)[1]] == ["0.log"]


def test_logs_that_are_not_recognised_are_grouped_by_their_text(tmp_path: Path) -> None:
    """Three runs of a net without a loss that is known, two of them alike but for the seed."""
    logs = (BASELINE.with_seed(1, 0.7), BASELINE.with_seed(2, 0.6), replace(BASELINE, max_iter=900, day="0601"))
    for i, log in enumerate(logs):
        (tmp_path / f"{i}.log").write_text(log.text().replace("SoftmaxWithLoss", "EuclideanLoss"))
    title, groups = curves_of(read_runs([tmp_path], published.load()))
    assert title == ""
    assert [(name, len(runs)) for name, runs in groups] == [
        (f"{BASELINE.net}, 0.log", 2),
        (f"{BASELINE.net}, 2.log", 1),
    ]


@pytest.mark.parametrize("name", ["kl", "anything"])
def test_kl_and_mmd_are_found_by_their_layers(name: str) -> None:
    """Values as the log has them, whatever the blob is called."""
    text = DISTILLED_LOG.read_text().replace('top: "kl"', f'top: "{name}"').replace(": kl = ", f": {name} = ")
    kl, mmd = (panel.curves([parse_log(text)], lambda row: row.iteration) for panel in DIVERGENCES)
    np.testing.assert_allclose(kl[0].y[:2], [0.00891844, 0.00571069])
    np.testing.assert_allclose(mmd[0].y[:2], [0.0179164, 0.00134668])
    assert kl[0].x[:2] == [0, 40]


def test_a_baseline_has_neither() -> None:
    run = parse_log(DISTILLED_LOG.with_name("baseline_seed1.log"))
    assert all(panel.curves([run], lambda row: row.iteration) == [] for panel in DIVERGENCES)


def test_the_command_draws_all_mechanisms_in_one_picture(tmp_path: Path) -> None:
    folder = str(DISTILLED_LOG.parent)
    assert main(["plot", folder, "-o", str(tmp_path / "x.svg")]) == 0
    said = re.findall(r"<!-- (.*?) -->", (tmp_path / "x.svg").read_text())
    panels = ["training loss", "test loss", "test error, %", "KL", "MMD", "learning rate"]
    assert [text for text in said if text in panels] == panels
    assert "ResNet-8, synthetic:train" in said
    assert "two branches: test error 21.24 ± 4.08 % (5 runs)" in said
    for ending, begin in (("png", b"\x89PNG"), ("pdf", b"%PDF")):
        assert main(["plot", folder, "-o", str(tmp_path / f"x.{ending}")]) == 0
        assert (tmp_path / f"x.{ending}").read_bytes().startswith(begin)
