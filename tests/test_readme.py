"""What README.md shows is what there is."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from sdcaffe.cli import main
from sdcaffe.net import Net

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def test_setting_up_takes_one_of_two_commands() -> None:
    section = README.partition("## Set up\n")[2].partition("\n## ")[0]
    run, test = re.findall(r"^```sh\n(.*)\n```", section, re.MULTILINE)
    for command in (run, test):
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install -e ")
    solver = re.fullmatch(r".* && \.venv/bin/sdcaffe train (\S+)", run)
    assert solver
    assert (ROOT / solver[1]).is_file()
    assert test.endswith(" && .venv/bin/python -m pytest")


def test_make_and_ci_take_the_commands_from_here() -> None:
    lines = README.splitlines()
    first = {word: next(line for line in lines if word in line) for word in ("bin/sdcaffe train", "python -m pytest")}
    assert all(line.startswith("python3 -m venv") for line in first.values())
    assert "grep -m1 'python -m pytest' README.md" in (ROOT / ".ci" / "run").read_text()
    makefile = (ROOT / "Makefile").read_text()
    assert all(f"grep -m1 '{word}' README.md" in makefile for word in first)


def test_the_layers_of_your_own_are_the_tested_ones() -> None:
    shown = [code for _, code in BLOCKS if code.startswith('"""') and "@register" in code]
    assert shown == [(ROOT / "tests" / "layers" / f"{name}.py").read_text() for name in ("focal_loss", "center_loss")]
    assert all(len(code.splitlines()) < 30 for code in shown)


def test_files_named_here_exist() -> None:
    for name in set(re.findall(r"\bprototxt/[\w/]+\.prototxt", README)):
        assert (ROOT / name).is_file(), name
    for name in re.findall(r"^\| `([\w/]+)", README.partition("## Where things are")[2], re.MULTILINE):
        assert (ROOT / name).is_dir(), name


def test_the_way_from_weights_to_a_classified_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The commands of "Deploy" but the training, on weights as they are filled."""
    commands = next(code for _, code in BLOCKS if "sdcaffe classify" in code).splitlines()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prototxt").symlink_to(ROOT / "prototxt")
    (tmp_path / "runs" / "quickstart").mkdir(parents=True)
    names = shlex.split(commands[1].partition(">")[0])[2:]
    (tmp_path / "names.txt").write_text("\n".join(names))
    Image.new("RGB", (32, 32), (200, 10, 60)).save("picture.png")
    net = Net("prototxt/quickstart/deploy.prototxt")
    for name in net.params:
        if name.endswith("_bn"):  # statistics of a net that never trained are zero
            net.params[name][1].data.fill_(1)
            net.params[name][2].data.fill_(1)
    net.save("runs/quickstart/baseline_iter_400.caffemodel")
    for command in commands[2:]:
        program, *arguments = shlex.split(command)
        assert program == "sdcaffe"
        assert main(arguments) == 0, capsys.readouterr().err
    out = capsys.readouterr().out
    assert any(name in out for name in names), out
