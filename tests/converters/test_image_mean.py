from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import lmdb
import numpy as np
import pytest
from databases import FILES

from sdcaffe import proto
from sdcaffe.cli import main
from sdcaffe.converters.image_mean import image_mean
from sdcaffe.converters.onnx_metadata import ModelError
from sdcaffe.converters.onnx_pixels import mean_image


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


def test_a_mean_goes_from_binaryproto_to_npy_and_back(tmp_path: Path) -> None:
    """goldens/files/mean.binaryproto is Caffe's, and mean.npy what pycaffe made of it."""
    there = [str(tmp_path / "a.npy"), str(tmp_path / "b.binaryproto")]
    assert main(["convert", "mean", str(FILES / "mean.binaryproto"), *there]) == 0
    assert np.array_equal(np.load(there[0]), np.load(FILES / "mean.npy").reshape(3, 40, 40))
    assert Path(there[1]).read_bytes() == (FILES / "mean.binaryproto").read_bytes()
    assert main(["convert", "mean", there[0], str(tmp_path / "c.binaryproto")]) == 0
    assert (tmp_path / "c.binaryproto").read_bytes() == (FILES / "mean.binaryproto").read_bytes()


def npy(shape: str, kind: str = "<f4", data: bytes = b"") -> bytes:
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.npy", b"", "m.npy: "),
        ("m.npy", b"garbage", "m.npy: is no array of numbers: it does not begin"),
        ("m.npy", npy("(3, 100000, 100000)"), "m.npy: "),
        ("m.npy", npy("(3, 2, 2)", data=bytes(47)), "m.npy: "),
        ("m.npy", npy("(1,)", "|O", b"cos\nsystem\n(S'touch hostile'\ntR."), "m.npy: is no array of numbers"),
        ("m.npy", npy("(3, [("), "m.npy: is no array of numbers: its header is damaged"),
        ("m.npy", npy("(3, 2, '"), "m.npy: is no array of numbers: its header is damaged"),
        ("m.npy", npy("(3,)", data=bytes(12)), "m.npy: a mean image has the shape"),
        ("m.npy", npy("(1, 1, 1)", "|S4", bytes(4)), "m.npy: is no array of numbers"),
        ("m.binaryproto", b"garbage", "m.binaryproto: "),
        ("m.binaryproto", b"\x2a\xff\xff\xff\xff\x0f", "m.binaryproto: "),
        ("m.binaryproto", b"\x08\x01\x10\xff\xff\xff\x07\x18\xff\xff\xff\x07\x20\xff\xff\xff\x07", "m.binaryproto: "),
    ],
)
def test_files_that_hold_no_mean_leave_the_old_one(
    name: str, content: bytes, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    (tmp_path / "old.npy").write_text("old")
    assert main(["convert", "mean", str(tmp_path / name), str(tmp_path / "old.npy")]) == 1
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert (tmp_path / "old.npy").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "old.npy"])
    with pytest.raises(ModelError) as caught:  # as --mean of classify and export
        mean_image(str(tmp_path / name))
    assert message in str(caught.value)


def test_a_mean_of_more_values_than_an_image_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.npy").write_bytes(npy("(3, 20000, 20000)", "|u1"))
    os.truncate(tmp_path / "m.npy", 128 + 3 * 20000 * 20000)  # it has that many, all of them 0
    assert main(["convert", "mean", str(tmp_path / "m.npy"), str(tmp_path / "out.npy")]) == 1
    assert "holds 3 x 20000 x 20000 values; a mean image has at most 268435456" in capsys.readouterr().err


def test_several_means_are_written_or_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, old = str(FILES / "mean.binaryproto"), tmp_path / "old.npy"
    old.write_text("old")
    assert main(["convert", "mean", source, str(old), str(tmp_path / "nowhere" / "b.npy")]) == 1
    assert "nowhere/b.npy: cannot be written: No such file" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["old.npy"]
    assert old.read_text() == "old"


def test_a_full_disk_leaves_the_old_mean(tmp_path: Path) -> None:
    (tmp_path / "mean.npy").write_text("old")
    code = (
        "import resource, sys; from sdcaffe.cli import main; import sdcaffe.converters.image_mean;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000));"
        f"sys.exit(main(['convert', 'mean', {str(FILES / 'lmdb_raw')!r}, {str(tmp_path / 'mean.npy')!r}]))"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("mean.npy: cannot be written: File too large")
    assert [path.name for path in tmp_path.iterdir()] == ["mean.npy"]
    assert (tmp_path / "mean.npy").read_text() == "old"
