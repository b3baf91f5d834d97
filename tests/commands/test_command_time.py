from __future__ import annotations

import re
from pathlib import Path

import pytest
from command_lines import copy_files, messages

from sdcaffe.cli import main


def shape(log: str) -> list[str]:
    """The lines without their numbers of milliseconds, and without the loss of random weights."""
    lines = [re.sub(r": \S+ ms\.$", ": X ms.", line) for line in messages(log)]
    return [re.sub(r"^(.*Initial loss): \S+$", r"\1: X", line) for line in lines]


@pytest.mark.parametrize(
    "arguments", [["-model", "net.prototxt", "-iterations", "5"], ["net.prototxt", "--iterations=5", "--phase=TRAIN"]]
)
def test_the_lines_are_caffes(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(copy_files(tmp_path))
    assert main(["time", *arguments]) == 0
    assert shape(capsys.readouterr().err) == shape(Path("caffe_time.log").read_text())


def test_the_numbers_add_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(copy_files(tmp_path))
    assert main(["time", "net.prototxt", "-iterations", "4", "-phase", "TEST"]) == 0
    log = capsys.readouterr().err
    assert "accuracy\tforward: " in log

    def number(label: str) -> float:
        return float(re.findall(label + r": (\S+) ms", log)[0])

    layers = [float(ms) for ms in re.findall(r"\tforward: (\S+) ms", log)]
    assert sum(layers) <= number("Average Forward pass") * 1.001
    both = number("Average Forward pass") + number("Average Backward pass")
    assert both <= number("Average Forward-Backward") * 1.001
    assert number("Total Time") == pytest.approx(4 * number("Average Forward-Backward"), rel=1e-4)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "name one net"),
        (["net.prototxt", "-phase", "both"], 2, "invalid choice: 'both'"),
        (["net.prototxt", "-iterations", "x"], 2, "'x' is not 1 or more"),
        (["none.prototxt"], 1, "none.prototxt: No such file or directory"),
    ],
)
def test_mistakes(
    arguments: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["time", *arguments]) == code
    assert message in capsys.readouterr().err.splitlines()[-1]
