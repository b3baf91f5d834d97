"""What README.md shows is what there is."""

from __future__ import annotations

import re
from pathlib import Path

from pages import ROOT, blocks, environment, prepare, run

README = (ROOT / "README.md").read_text()


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


def test_it_is_read_in_a_sitting() -> None:
    assert len(README.splitlines()) <= 150


def test_its_python_runs(tmp_path: Path) -> None:
    prepare(tmp_path)
    (python,) = [block for block in blocks(ROOT / "README.md") if block.kind == "python"]
    run(python, tmp_path, environment())
