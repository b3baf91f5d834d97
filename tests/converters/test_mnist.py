"""MNIST's IDX files as databases: keys and records of BVLC Caffe's two tools, and what they refuse."""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from databases import leveldb_records, lmdb_records

from sdcaffe import proto
from sdcaffe.cli import main
from sdcaffe.converters.mnist import convert_mnist, convert_mnist_pairs
from sdcaffe.errors import DataError

PIXELS = bytes((i * 37 + 11) % 256 for i in range(60))  # five images of three by four
LABELS = bytes([7, 0, 9, 3, 1])
RECORDS = [  # of Caffe's convert_mnist_data, byte for byte
    (b"00000000", "080110031804220c0b30557a9fc4e90e33587da22807"),
    (b"00000001", "080110031804220cc7ec11365b80a5caef14395e2800"),
    (b"00000002", "080110031804220c83a8cdf2173c6186abd0f51a2809"),
    (b"00000003", "080110031804220c3f6489aed3f81d42678cb1d62803"),
    (b"00000004", "080110031804220cfb20456a8fb4d9fe23486d922801"),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_idx()
    return tmp_path


def write_idx(images: bytes = PIXELS, labels: bytes = LABELS, shape: tuple[int, ...] = (5, 3, 4)) -> None:
    Path("images").write_bytes(struct.pack(">4I", 2051, *shape) + images)
    Path("labels").write_bytes(struct.pack(">2I", 2049, shape[0]) + labels)


@pytest.mark.parametrize("flags", [[], ["--backend=lmdb"], ["-backend", "leveldb"], ["--backend", "leveldb"]])
def test_keys_and_records_are_caffes(folder: Path, flags: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    assert main(["convert_mnist_data", *flags, "images", "labels", "db"]) == 0
    leveldb = "leveldb" in flags
    records = (
        leveldb_records(folder / "db", tmp_path_factory.mktemp("copy")) if leveldb else lmdb_records(folder / "db")
    )
    assert [(key, value.hex()) for key, value in records] == RECORDS


def test_a_batch_is_a_thousand_and_the_log_is_caffes(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    count = 2345
    write_idx(bytes(i % 251 for i in range(6 * count)), bytes(i % 10 for i in range(count)), (count, 2, 3))
    with caplog.at_level(logging.INFO, logger="sdcaffe"):
        assert convert_mnist("images", "labels", "db") == count
    records = lmdb_records(folder / "db")
    assert [key for key, _ in records] == [f"{i:08d}".encode() for i in range(count)]
    last = proto.Datum.FromString(records[-1][1])
    assert (last.channels, last.height, last.width, last.label) == (1, 2, 3, 4)
    assert last.data == bytes(i % 251 for i in range(6 * (count - 1), 6 * count))
    for line in ("A total of 2345 items.", "Rows: 2 Cols: 3", "Processed 2345 files."):
        assert line in caplog.text


def test_a_label_is_a_byte_without_a_sign(folder: Path) -> None:
    """Caffe's is -56 where its compiler's char is signed."""
    write_idx(labels=bytes([200, 255, 128, 127, 0]))
    convert_mnist("images", "labels", "db")
    assert [proto.Datum.FromString(value).label for _, value in lmdb_records(folder / "db")] == [200, 255, 128, 127, 0]


def test_pairs(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    count = 400
    images = [struct.pack(">2B", i // 256, i % 256) for i in range(count)]
    write_idx(b"".join(images), bytes(i % 3 for i in range(count)), (count, 1, 2))
    assert main(["convert-mnist-siamese-data", "images", "labels", "pairs"]) == 0
    records = leveldb_records(folder / "pairs", tmp_path_factory.mktemp("copy"))
    assert [key for key, _ in records] == [f"{i:08d}".encode() for i in range(count)]
    drawn: list[int] = []
    for _, value in records:
        datum = proto.Datum.FromString(value)
        assert (datum.channels, datum.height, datum.width, datum.HasField("label")) == (2, 1, 2, True)
        first, second = struct.unpack(">2H", datum.data)
        assert datum.label == (first % 3 == second % 3)
        drawn += [first, second]
    # with replacement: of 800 draws from 400, 1 - 1/e^2 of them, 346, are expected to be there
    assert 330 < len(set(drawn)) < 362
    convert_mnist_pairs("images", "labels", "same")
    convert_mnist_pairs("images", "labels", "other", seed=1)
    assert leveldb_records(folder / "same", tmp_path_factory.mktemp("same")) == records
    assert leveldb_records(folder / "other", tmp_path_factory.mktemp("other")) != records


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("images", struct.pack(">2I", 2049, 5) + LABELS, r"begins with the number 2051, not 2049 \(labels\)"),
        ("labels", struct.pack(">4I", 2051, 5, 3, 4) + PIXELS, r"begins with the number 2049, not 2051 \(images\)"),
        ("labels", struct.pack(">2I", 2049, 4) + LABELS, "holds 4 labels for the 5 images of images"),
        ("labels", struct.pack(">2I", 2049, 5) + LABELS[:4], "cut short: 5 bytes and a head are 13, it has 12"),
        ("images", struct.pack(">4I", 2051, 5, 3, 4) + PIXELS[:-1], "cut short: 5 x 3 x 4 bytes and a head are 76, it"),
        ("images", struct.pack(">4I", 2051, 5, 2**31, 2**31) + PIXELS, "cut short"),
        ("images", struct.pack(">3I", 2051, 5, 3), "cut short: it has 12 bytes"),
        ("images", b"", "cut short: it has 0 bytes"),
        ("images", struct.pack(">4I", 2051, 5, 0, 4), "holds images of 0 x 4 pixels"),
        ("images", b"\x1f\x8b\x08\x00" + bytes(20), "is compressed; gunzip it first"),
    ],
)
@pytest.mark.parametrize("convert", [convert_mnist, convert_mnist_pairs])
def test_what_is_refused_leaves_nothing(
    folder: Path, convert: Callable[..., int], name: str, content: bytes, says: str
) -> None:
    Path(name).write_bytes(content)
    with pytest.raises(DataError, match=says) as caught:
        convert("images", "labels", "db")
    assert caught.value.where == name
    assert sorted(path.name for path in folder.iterdir()) == ["images", "labels"]


@pytest.mark.parametrize("command", ["convert-mnist-data", "convert-mnist-siamese-data"])
def test_a_database_that_is_there_and_a_file_that_is_not(
    folder: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("db").mkdir()
    assert main([command, "images", "labels", "db"]) == 1
    assert "db: " in capsys.readouterr().err.splitlines()[-1]
    assert main([command, "nothing", "labels", "new"]) == 1
    assert "nothing: cannot read the images: No such file" in capsys.readouterr().err
    assert not Path("new").exists()
    assert main([command, "images", "labels"]) == 2


def test_no_images_make_an_empty_database(folder: Path) -> None:
    write_idx(b"", b"", (0, 28, 28))
    convert_mnist("images", "labels", "db")
    assert lmdb_records(folder / "db") == []
