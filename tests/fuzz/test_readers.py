"""Damaged files of every format never end in anything but the package's own errors.

Deterministic: the same files each time. `SDCAFFE_FUZZ=50000 pytest tests/fuzz` tries that many more for each reader,
from another beginning with `SDCAFFE_FUZZ_SEED=7`; a file that does harm is kept in tests/fuzz/found. What is moved
from there to tests/fuzz/once is read by every run of the tests.
"""

from __future__ import annotations

import faulthandler
import hashlib
import os
import warnings
from pathlib import Path

import more_targets
import pytest
from fuzz_targets import Target, harm, targets, tried

INPUTS = int(os.environ.get("SDCAFFE_FUZZ", 0))
SEED = int(os.environ.get("SDCAFFE_FUZZ_SEED", 0))
# By default 20,000 in all: fewer where one takes milliseconds.
DEFAULT = {
    "data.mdb": 300,
    "image": 300,
    "rows.h5": 300,
    "w.caffemodel.h5": 300,
    "s.solverstate.h5": 300,
    "t.pt": 500,
    "net.onnx": 500,
    "000003.log": 100,
    "shapes.onnx": 500,
}
NAMES = [
    "net.prototxt", "solver.prototxt", "train.log", "list.txt", "windows.txt", "w.caffemodel", "w.caffemodel.h5",
    "s.solverstate", "s.solverstate.h5", "kept.json", "m.binaryproto", "m.npy", "t.pt", "rows.h5", "data.mdb", "image",
    "data_batch_1", "labels.idx", "net.onnx", "boxes.xml", "boxes.json", "boxes.txt", "labelmap.prototxt", "sizes.txt",
    "w.safetensors", "000003.log", "shapes.onnx",
]  # fmt: skip
FOUND = Path(__file__).parent / "found"
ONCE = sorted((Path(__file__).parent / "once").iterdir())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("targets")


@pytest.fixture(scope="module")
def by_name(folder: Path) -> dict[str, Target]:
    return {target.name: target for target in [*targets(folder), *more_targets.targets(folder)]}


def test_every_target_has_its_turn(by_name: dict[str, Target]) -> None:
    assert sorted(by_name) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_file(name: str, by_name: dict[str, Target], folder: Path) -> None:
    if INPUTS:
        faulthandler.cancel_dump_traceback_later()  # it takes longer than the minutes after which a test hangs
    with warnings.catch_warnings(action="ignore"):
        found = list(tried(by_name[name], INPUTS or DEFAULT.get(name, 1500), SEED, folder))
    for data, error in found:
        kept = FOUND / f"{name}.{type(error).__name__}.{hashlib.sha256(data).hexdigest()[:8]}"
        kept.parent.mkdir(exist_ok=True)
        kept.write_bytes(data)
    assert not found, {f"{type(error).__name__}: {error}"[:300] for _, error in found}


@pytest.mark.parametrize("file", ONCE, ids=lambda file: file.name)
def test_a_file_that_once_did_harm(file: Path, by_name: dict[str, Target], folder: Path) -> None:
    name = file.name.rsplit(".", 2)[0]
    with warnings.catch_warnings(action="ignore"):
        assert harm(by_name[name], file.read_bytes(), folder) is None
