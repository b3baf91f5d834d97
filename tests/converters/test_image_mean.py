from __future__ import annotations

import re
import shutil
from pathlib import Path

import lmdb
import numpy as np
import pytest
from databases import FILES

from converters.image_mean import image_mean
from sdcaffe import proto
from sdcaffe.cli import main


def make(path: Path, *datums: object) -> str:
    with lmdb.open(str(path)) as environment, environment.begin(write=True) as transaction:
        for i, datum in enumerate(datums):
            transaction.put(b"%03d" % i, datum.SerializeToString())
    return str(path)


@pytest.mark.parametrize("name", ["lmdb_raw", "lmdb_enc", "leveldb_raw"])
def test_the_file_is_caffes_byte_for_byte(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    database = shutil.copytree(FILES / name, tmp_path / name)
    assert main(["compute_image_mean", str(database), str(tmp_path / "mean.binaryproto")]) == 0
    assert (tmp_path / "mean.binaryproto").read_bytes() == (FILES / "mean.binaryproto").read_bytes()
    lines = [line.partition("] ")[2] for line in capsys.readouterr().err.splitlines()]
    assert ("Decoding Datum" in lines) == (name == "lmdb_enc")
    assert lines[-6:] == [
        "Processed 24 files.",
        f"Write to {tmp_path / 'mean.binaryproto'}",
        "Number of channels: 3",
        *(f"mean_value channel [{c}]: {mean:.6g}" for c, mean in enumerate(channel_means())),
    ]


def channel_means() -> list[float]:
    """Of the recorded mean, each channel summed as Caffe's loop sums it, in float32."""
    means = []
    for plane in np.load(FILES / "mean.npy").astype(np.float32)[0]:
        total = np.float32(0)
        for value in plane.ravel():
            total = total + value
        means.append(float(total / np.float32(plane.size)))
    return means


def test_for_numpy(tmp_path: Path) -> None:
    assert main(["compute-image-mean", str(FILES / "lmdb_raw"), str(tmp_path / "mean.npy"), "--backend=lmdb"]) == 0
    mean = np.load(tmp_path / "mean.npy")
    assert mean.dtype == np.float32
    np.testing.assert_allclose(mean, np.load(FILES / "mean.npy")[0], rtol=1e-6)


def test_without_a_file_the_channels_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compute-image-mean", str(FILES / "lmdb_raw")]) == 0
    assert len(re.findall(r"mean_value channel \[\d\]: ", capsys.readouterr().err)) == 3


def test_sums_are_caffes_float32_in_the_order_of_the_keys(tmp_path: Path) -> None:
    """2^24 + 1 is no float32: adding 1 to 2^24 changes nothing, but 1 + 1 + 2^24 is more."""
    big, one = (proto.Datum(channels=1, height=1, width=1, float_data=[value]) for value in (2.0**24, 1.0))
    assert image_mean(make(tmp_path / "first", big, one, one))[0, 0, 0] == np.float32(2.0**24) / np.float32(3)
    assert image_mean(make(tmp_path / "last", one, one, big))[0, 0, 0] == np.float32(2.0**24 + 2) / np.float32(3)


def test_a_set_that_is_no_database() -> None:
    from sdcaffe.data import open_source

    images = open_source("synthetic:test")
    expected = np.mean([images.read(i)[0] for i in range(len(images))], axis=0, dtype=np.float64)
    np.testing.assert_allclose(image_mean("synthetic:test"), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mixed"], "record 1 (key '001') is 1 x 1 x 2 but record 0 (key '000') is 1 x 1 x 1"),
        (["empty"], "the LMDB holds no records"),
        (["nowhere"], "there is no LMDB here"),
        (["mixed", "--backend", "leveldb"], "this is a LMDB, opened as LEVELDB"),
        (["mixed", "out", "--backend", "hdf5"], "invalid choice: 'hdf5'"),
        ([str(FILES / "lmdb_raw"), "nowhere/mean.binaryproto"], "nowhere/mean.binaryproto: cannot be written"),
    ],
)
def test_mistakes(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "empty")
    make(
        tmp_path / "mixed",
        proto.Datum(channels=1, height=1, width=1, data=b"a"),
        proto.Datum(channels=1, height=1, width=2, data=b"ab"),
    )
    assert main(["compute-image-mean", *arguments]) in (1, 2)
    assert message in capsys.readouterr().err.splitlines()[-1]
