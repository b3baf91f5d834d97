"""CIFAR's official files to databases: the records of Caffe's convert_cifar_data, or one clear error."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from databases import lmdb_records

from sdcaffe import proto
from sdcaffe.cli import main
from sdcaffe.converters.cifar import convert

sys.path.append(str(Path(__file__).parents[1] / "data"))
from cifar_files import write_cifar10, write_cifar100


def record(pixels: np.ndarray, label: int) -> bytes:
    """A Datum by hand: fields 1 to 3 are 3, 32, 32; 4 the bytes, of which there are 3072; 5 the label."""
    return b"\x08\x03\x10\x20\x18\x20\x22\x80\x18" + pixels.tobytes() + b"\x28" + bytes([label])


@pytest.mark.parametrize("layout", ["binary", "python"])
def test_cifar10(layout: str, tmp_path: Path) -> None:
    images = write_cifar10(tmp_path, layout)
    assert main(["convert", "cifar", "cifar10", str(tmp_path / "out"), "--folder", str(tmp_path)]) == 0
    labels = {"train": [4, 5] * 5, "test": [4, 5, 6]}
    for split, pixels in images.items():
        expected = [(b"%05d" % i, record(p, labels[split][i])) for i, p in enumerate(pixels)]
        assert lmdb_records(tmp_path / "out" / f"cifar10_{split}_lmdb") == expected
    mean = proto.read_blob(str(tmp_path / "out" / "mean.binaryproto"))
    np.testing.assert_allclose(mean[0], images["train"].mean(0), rtol=1e-6)


@pytest.mark.parametrize("layout", ["binary", "python"])
def test_cifar100_has_the_fine_labels(layout: str, tmp_path: Path) -> None:
    images = write_cifar100(tmp_path, layout)
    seen: list[tuple[int, int]] = []
    convert("cifar100", str(tmp_path / "out"), str(tmp_path), tick=lambda *at: seen.append(at))
    expected = [(b"%05d" % i, record(p, i)) for i, p in enumerate(images["test"])]
    assert lmdb_records(tmp_path / "out" / "cifar100_test_lmdb") == expected
    assert seen == [(6, 12), (12, 12)]


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("hostile_was_here",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps(Hostile()), "which no CIFAR file does"),
        (pickle.dumps([1, 2]), "no file of CIFAR's python layout"),
        (b"", "no file of CIFAR's python layout"),
        (b"\x80\x02}q\x01", "no file of CIFAR's python layout"),
        (np.random.default_rng(1).bytes(5000), "no file of CIFAR's python layout"),
        (b"\x80\x04\x8e" + (1 << 40).to_bytes(8, "little"), "no file of CIFAR's python layout"),  # claims a terabyte
        (b"\x80\x04\x95" + b"\xff" * 7 + b"\x7f", "no file of CIFAR's python layout"),
    ],
)
def test_a_pickle_in_place_of_a_batch_is_not_run(
    content: bytes, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_cifar100(tmp_path, "python")
    (tmp_path / "cifar-100-python" / "test").write_bytes(content)
    assert main(["convert", "cifar", "cifar100", "out", "--folder", str(tmp_path)]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert message in error
    assert "cifar-100-python/test" in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cifar-100-python"]


@pytest.mark.parametrize("size", [0, 3073, 3074 * 6 - 1, (1 << 28) + 3074])
def test_binary_files_cut_short_or_too_long(size: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_cifar100(tmp_path, "binary")
    os.truncate(tmp_path / "cifar-100-binary" / "train.bin", size)
    assert main(["convert", "cifar", "cifar100", str(tmp_path / "out"), "--folder", str(tmp_path)]) == 1
    assert "train.bin" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_a_database_that_is_there_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_cifar100(tmp_path, "binary")
    there = tmp_path / "out" / "cifar100_test_lmdb"
    there.mkdir(parents=True)
    (there / "data.mdb").write_text("precious")
    assert main(["convert", "cifar", "cifar100", str(tmp_path / "out"), "--folder", str(tmp_path)]) == 1
    assert "cifar100_test_lmdb: is there already" in capsys.readouterr().err.splitlines()[-1]
    assert (there / "data.mdb").read_text() == "precious"
    assert [path.name for path in there.parent.iterdir()] == ["cifar100_test_lmdb"]


def test_a_run_cut_short_between_two_outputs_is_run_again(tmp_path: Path) -> None:
    """Where the mean cannot be written no database is there, which would bar the way to the next run."""
    write_cifar100(tmp_path, "binary")
    output = tmp_path / "out"
    (output / "mean.binaryproto").mkdir(parents=True)
    assert main(["convert", "cifar", "cifar100", str(output), "--folder", str(tmp_path)]) == 1
    assert [path.name for path in output.iterdir()] == ["mean.binaryproto"]
    (output / "mean.binaryproto").rmdir()
    assert main(["convert", "cifar", "cifar100", str(output), "--folder", str(tmp_path)]) == 0
    assert len(list(output.iterdir())) == 3
