"""`sdcaffe zoo`: what comes along is listed, and written where its paths hold; an error names the command."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_lines import ROOT

import sdcaffe
from sdcaffe.cli import main
from sdcaffe.proto import read_net, read_solver

QUICKSTART = ROOT / "prototxt" / "quickstart"


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_list_has_every_solver(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zoo"]) == 0
    _, *lines = capsys.readouterr().out.splitlines()
    listed: dict[str, list[str]] = {}
    for line in lines:
        name, _, recipes = line.partition("  ")
        name = name or list(listed)[-1]
        listed.setdefault(name, []).extend(recipe.strip() for recipe in recipes.split(",") if recipe.strip())
    solvers = {f"prototxt/{name}/solver_{recipe}.prototxt" for name, recipes in listed.items() for recipe in recipes}
    assert solvers == {str(path.relative_to(ROOT)) for path in ROOT.glob("prototxt/**/solver_*.prototxt")}
    assert next(iter(listed)) == "quickstart"


def test_a_network_is_written_where_its_paths_hold(empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zoo", "quickstart", "."]) == 0
    written = capsys.readouterr().out.splitlines()
    assert files(empty / "prototxt" / "quickstart") == files(QUICKSTART)
    assert sorted(written) == sorted(f"prototxt/quickstart/{name}" for name in files(QUICKSTART))
    sdcaffe.discover()
    solver = read_solver("prototxt/quickstart/solver_self_distilled.prototxt")
    assert len(read_net(solver.net).layer) > 10
    assert main(["zoo", "cifar100/resnet32", "elsewhere"]) == 0
    assert files(empty / "elsewhere/prototxt/cifar100/resnet32") == files(ROOT / "prototxt/cifar100/resnet32")


def test_a_file_that_differs_is_kept_unless_one_says_so(empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zoo", "quickstart"]) == 0
    changed, gone = (empty / "prototxt" / "quickstart" / f"{name}.prototxt" for name in ("solver_baseline", "deploy"))
    changed.write_text("max_iter: 3\n")
    gone.unlink()
    capsys.readouterr()
    assert main(["zoo", "quickstart"]) == 1
    error = "prototxt/quickstart/solver_baseline.prototxt would be overwritten and differs; --force overwrites"
    assert error in capsys.readouterr().err
    assert changed.read_text() == "max_iter: 3\n"
    assert not gone.exists()
    assert main(["zoo", "quickstart", "--force"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert files(empty / "prototxt" / "quickstart") == files(QUICKSTART)
    assert main(["zoo", "quickstart"]) == 0
    assert capsys.readouterr().out == "all files are in prototxt/quickstart already\n"


def test_a_network_that_there_is_not(empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zoo", "cifar100/resnet33"]) == 1
    assert 'unknown network "cifar100/resnet33". Did you mean "cifar100/resnet32"?' in capsys.readouterr().err
    assert not list(empty.iterdir())


@pytest.mark.parametrize("before", ["", "sub/"])
def test_a_missing_file_that_comes_along_is_told_with_the_command(
    before: str, empty: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = f"{before}prototxt/cifar100/resnet32/deploy.prototxt"
    assert main(["summary", file]) == 1
    command = f"sdcaffe zoo cifar100/resnet32 {before.rstrip('/') or '.'}"
    expected = f"sdcaffe: error: {file}: No such file or directory; {command} writes it\n"
    assert capsys.readouterr().err == expected
    assert main(command.split()[1:]) == 0
    assert main(["summary", file]) == 0


def test_other_missing_files_are_just_missing(empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in ("prototxt/mine.prototxt", "prototxt", "deploy.prototxt", "prototxt/../prototxt"):
        assert main(["summary", file]) == 1
        assert capsys.readouterr().err == f"sdcaffe: error: {file}: No such file or directory\n"
