"""Databases to folders of images: the same pixels, names that stay inside, and nothing where a record is no image."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import lmdb
import numpy as np
import pytest
from databases import FILES, lmdb_records
from PIL import Image

from sdcaffe import proto
from sdcaffe.cli import main
from sdcaffe.converters.image_folder import convert

JPEG = (FILES / "images" / "im00.jpg").read_bytes()


def database(path: Path, *records: tuple[bytes, bytes]) -> str:
    with lmdb.open(str(path), map_size=1 << 22) as environment, environment.begin(write=True) as transaction:
        for key, value in records:
            transaction.put(key, value)
    return str(path)


def raw(shape: tuple[int, ...] = (3, 4, 5), label: int = 7, **fields: object) -> bytes:
    c, h, w = shape
    pixels = np.random.default_rng(c).integers(0, 256, shape, dtype=np.uint8).tobytes()
    return proto.Datum(
        **{"channels": c, "height": h, "width": w, "data": pixels, "label": label, **fields}
    ).SerializeToString()


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_the_way_to_a_folder_and_back_keeps_every_pixel_and_label(tmp_path: Path) -> None:
    """goldens/files/lmdb_raw is Caffe's; its keys are the names of files, which this does not take."""
    assert main(["convert", "image-folder", str(FILES / "lmdb_raw"), str(tmp_path / "folder")]) == 0
    back = ["convert", "images", str(tmp_path / "folder"), str(tmp_path / "back")]
    assert main([*back, "--list", str(tmp_path / "folder" / "list.txt")]) == 0
    recorded = [value for _, value in lmdb_records(FILES / "lmdb_raw")]
    assert [value for _, value in lmdb_records(tmp_path / "back")] == recorded


def test_encoded_images_are_written_as_they_are(tmp_path: Path) -> None:
    count = convert(str(FILES / "lmdb_enc"), str(tmp_path / "folder"))
    datums = [proto.Datum.FromString(value) for _, value in lmdb_records(FILES / "lmdb_enc")]
    assert count == len(datums)
    lines = (tmp_path / "folder" / "list.txt").read_text().splitlines()
    for i, (datum, line) in enumerate(zip(datums, lines, strict=True)):
        assert line == f"{datum.label}/{i:08d}.png {datum.label}"
        assert (tmp_path / "folder" / line.split()[0]).read_bytes() == datum.data


def test_the_order_of_channels(tmp_path: Path) -> None:
    source = database(tmp_path / "db", (b"0", raw((3, 1, 1), data=bytes([1, 2, 3]))))
    for order, expected in (("bgr", (3, 2, 1)), ("rgb", (1, 2, 3))):
        assert main(["convert", "image-folder", source, str(tmp_path / order), "--channel-order", order]) == 0
        with Image.open(tmp_path / order / "7" / "00000000.png") as picture:
            assert picture.getpixel((0, 0)) == expected


def test_no_key_and_no_label_leads_out_of_the_folder(tmp_path: Path) -> None:
    keys = [b"../../escaped", b"/tmp/escaped", b"a\x1b[31m\n", b"..", b"C:\\escaped", b"%s" % (b"x" * 500)]
    records = [
        (key, raw(label=label)) for key, label in zip(sorted(keys), (0, -1, 2**31 - 1, -(2**31), 5, 5), strict=True)
    ]
    source = database(tmp_path / "db", *records)
    (tmp_path / "inside").mkdir()
    convert(source, str(tmp_path / "inside" / "folder"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["db", "inside"]
    labels = (0, -1, 2147483647, -2147483648, 5, 5)
    expected = [f"folder/{label}/{i:08d}.png" for i, label in enumerate(labels)]
    assert files(tmp_path / "inside") == sorted([*expected, "folder/list.txt"])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"\xff" * 50, "record 1 (key '1') is no Datum"),
        (raw(data=b"123"), "says 3 x 4 x 5 = 60 values but holds 3 bytes"),
        (raw(channels=0), "holds no image"),
        (raw((2, 4, 5)), "holds 2 channels of bytes; an image file takes 1 or 3"),
        (raw(data=b"", float_data=[0.5] * 60), "holds 3 channels of floats"),
        (raw(channels=2**31 - 1, height=2**31 - 1, width=2**31 - 1), "values but holds 60 bytes"),
        (proto.Datum(data=JPEG[:500], encoded=True).SerializeToString(), "cannot decode the image"),
        (proto.Datum(data=b"#!/bin/sh\nrm -rf ~\n", encoded=True).SerializeToString(), "no image format that is known"),
    ],
)
def test_a_record_that_is_no_image(
    value: bytes, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = database(tmp_path / "db", (b"0", raw()), (b"1", value))
    assert main(["convert", "image-folder", source, str(tmp_path / "folder")]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert message in error
    assert "record 1 (key '1')" in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["db"]


@pytest.mark.parametrize("content", [b"", b"garbage", os.urandom(1 << 16), bytes(1 << 16)])
def test_a_database_of_garbage(content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "data.mdb").write_bytes(content)
    assert main(["convert", "image-folder", str(tmp_path / "db"), str(tmp_path / "folder")]) == 1
    assert f"{tmp_path / 'db'}: " in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "folder").exists()


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "precious").write_text("kept")
    assert main(["convert", "image-folder", str(FILES / "lmdb_raw"), str(tmp_path / "folder")]) == 1
    assert "folder: is there already, and a folder is never written over" in capsys.readouterr().err
    assert files(tmp_path / "folder") == ["precious"]


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    code = (
        "import resource, sys; from sdcaffe.cli import main; import sdcaffe.converters.image_folder;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000));"
        f"sys.exit(main(['convert', 'image-folder', {str(FILES / 'lmdb_raw')!r}, {str(tmp_path / 'folder')!r}]))"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("folder: the folder cannot be written: File too large")
    assert list(tmp_path.iterdir()) == []
