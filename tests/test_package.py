"""The wheel: one package with all its data, full metadata, and commands that work in an empty folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

import sdcaffe
from sdcaffe import packaged
from sdcaffe.errors import DataError

ROOT = Path(__file__).parents[1]
INSIDE = {"sdcaffe": "sdcaffe", "converters": "sdcaffe/converters", "prototxt": "sdcaffe/prototxt"}
INSIDE["reference_logs/paper"] = "sdcaffe/reference_logs/paper"
FILES = ("pyproject.toml", "setup.py", "README.md", "LICENSE")
BUILD = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked; built of a copy, as building leaves files behind."""
    folder = tmp_path_factory.mktemp("package")
    clone = folder / "clone"
    for name in INSIDE:
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, clone / name)
    done = subprocess.run([sys.executable, "-c", BUILD, folder], cwd=clone, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as file:
        file.extractall(folder / "wheel")
    return folder / "wheel"


@pytest.fixture
def metadata(wheel: Path) -> Message:
    (path,) = wheel.glob("*.dist-info/METADATA")
    return Parser().parsestr(path.read_text(encoding="utf-8"))


@pytest.fixture
def command(wheel: Path, tmp_path: Path) -> Callable[..., str]:
    """Runs `sdcaffe` of the wheel in an empty folder; gives what it prints."""
    environment = os.environ | {"PYTHONPATH": str(wheel), "OMP_NUM_THREADS": "1"}

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "sdcaffe", *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def contents(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_there_is_one_package_and_it_holds_every_file(wheel: Path) -> None:
    assert sorted(path.name for path in wheel.iterdir()) == ["sdcaffe", f"sdcaffe-{sdcaffe.__version__}.dist-info"]
    expected = {}
    for here, there in INSIDE.items():
        expected |= {f"{there}/{name}": content for name, content in contents(ROOT / here).items()}
    assert {f"sdcaffe/{name}": content for name, content in contents(wheel / "sdcaffe").items()} == expected
    assert "sdcaffe/py.typed" in expected


def test_the_metadata_is_whole(metadata: Message) -> None:
    assert metadata["Version"] == sdcaffe.__version__
    assert metadata["License-Expression"] == "MIT"
    assert metadata["License-File"] == "LICENSE"
    for name in ("Summary", "Keywords", "Author", "Requires-Python"):
        assert metadata[name]
    assert {"Typing :: Typed", "Programming Language :: Python :: 3.11"} <= set(metadata.get_all("Classifier", []))


def test_every_dependency_has_a_lower_bound(metadata: Message) -> None:
    needed = [line.partition(";")[0] for line in metadata.get_all("Requires-Dist", [])]
    unbounded = [line for line in needed if not re.search(r">=\d", line)]
    assert unbounded == ["sdcaffe[leveldb,safetensors,tensorboard,video]"]
    assert len(needed) > 20


def test_the_published_values_come_along(command: Callable[..., str]) -> None:
    assert ["ResNet-32", "CIFAR-100", "baseline", "31.01"] in [line.split() for line in command("compare").splitlines()]


def test_a_network_is_written_and_trained_where_there_was_nothing(command: Callable[..., str], tmp_path: Path) -> None:
    assert "quickstart" in command("zoo")
    command("zoo", "quickstart", ".")
    solver = tmp_path / "prototxt" / "quickstart" / "solver_self_distilled.prototxt"
    text, lines = re.subn(r"(?m)^(max_iter|test_iter): .*", r"\1: 2", solver.read_text())
    assert lines == 2
    solver.write_text(text)
    command("train", str(solver.relative_to(tmp_path)))
    assert (tmp_path / "runs" / "quickstart" / "self_distilled_iter_2.caffemodel").is_file()
    assert "ResNet-8" in command("compare", "runs")


def test_in_a_clone_the_folders_are_at_the_top() -> None:
    assert packaged.folder("prototxt") == ROOT / "prototxt"
    assert packaged.folder("reference_logs/paper") == ROOT / "reference_logs" / "paper"
    with pytest.raises(DataError, match=r"sdcaffe: sdcaffe came without its folder models; install it again"):
        packaged.folder("models")
