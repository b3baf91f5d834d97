from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from databases import FILES, leveldb_records, lmdb_records
from PIL import Image

from sdcaffe import proto
from sdcaffe.cli import main
from sdcaffe.converters import database
from sdcaffe.converters.image_set import Options, convert
from sdcaffe.errors import DataError

IMAGES, LIST = str(FILES / "images"), str(FILES / "list.txt")
RESIZE = ["--resize_height=40", "-resize_width", "40"]


def command(tmp_path: Path, *arguments: str) -> int:
    return main(["convert_imageset", *arguments, f"{IMAGES}/", LIST, str(tmp_path / "db")])


def datums(path: Path) -> list:
    return [proto.Datum.FromString(value) for _, value in lmdb_records(path)]


def image_list(folder: Path, **labels: int) -> str:
    """A list of images of one pixel, red as the label says."""
    for name, label in labels.items():
        Image.new("RGB", (1, 1), (label % 256, 1, 2)).save(folder / f"{name}.png")
    (folder / "list.txt").write_text("".join(f"{name}.png {label}\n" for name, label in labels.items()))
    return str(folder / "list.txt")


def test_pixels_are_caffes_byte_for_byte(tmp_path: Path) -> None:
    """JPEG and PNG sources of two sizes, resized: keys, pixels and messages."""
    assert command(tmp_path, *RESIZE) == 0
    assert lmdb_records(tmp_path / "db") == lmdb_records(FILES / "lmdb_raw")


@pytest.mark.parametrize("flags", [["--encode_type=png"], ["--encoded", "--encode_type=png"]])
def test_encoded_images_are_caffes_byte_for_byte(flags: list[str], tmp_path: Path) -> None:
    assert command(tmp_path, *RESIZE, *flags) == 0
    assert lmdb_records(tmp_path / "db") == lmdb_records(FILES / "lmdb_enc")


def test_a_leveldb_has_the_records_of_caffes(tmp_path: Path) -> None:
    assert command(tmp_path, *RESIZE, "-backend", "leveldb") == 0
    assert leveldb_records(tmp_path / "db", tmp_path) == leveldb_records(FILES / "leveldb_raw", tmp_path)


def test_a_file_that_need_not_change_is_stored_as_it_is(tmp_path: Path) -> None:
    assert command(tmp_path, "--encoded") == 0
    names = [line.split()[0] for line in Path(LIST).read_text().splitlines()]
    for datum, name in zip(datums(tmp_path / "db"), names, strict=True):
        assert datum.data == (FILES / "images" / name).read_bytes()
        assert datum.encoded
        assert not datum.HasField("channels")


def test_gray(tmp_path: Path) -> None:
    """Of a gray value in three channels, the one that is left is that value."""
    Image.new("RGB", (3, 2), (77, 77, 77)).save(tmp_path / "a.png")
    (tmp_path / "list.txt").write_text("a.png 5\n")
    assert main(["convert-imageset", "--gray", str(tmp_path), str(tmp_path / "list.txt"), str(tmp_path / "db")]) == 0
    (datum,) = datums(tmp_path / "db")
    assert (datum.channels, datum.height, datum.width, datum.label) == (1, 2, 3, 5)
    assert datum.data == bytes([77] * 6)
    convert(str(tmp_path), str(tmp_path / "list.txt"), str(tmp_path / "png"), options=Options(gray=True, encoded=True))
    assert datums(tmp_path / "png")[0].data == (tmp_path / "a.png").read_bytes()  # as Caffe: colour is asked for later


@pytest.mark.parametrize("kind", ["jpg", "bmp", "ppm", "tiff", "webp"])
def test_other_types_of_image(kind: str, tmp_path: Path) -> None:
    source = image_list(tmp_path, a=200)
    convert(str(tmp_path), source, str(tmp_path / "db"), options=Options(encode_type=kind))
    picture = Image.open(io.BytesIO(datums(tmp_path / "db")[0].data)).convert("RGB")
    assert max(abs(a - b) for a, b in zip(picture.getpixel((0, 0)), (200, 1, 2), strict=True)) <= (
        3 if kind == "jpg" else 0
    )


def test_more_images_than_one_transaction_holds_in_any_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_FIRST_MAP", 1 << 15)  # the map of the database has to grow, too
    source = image_list(tmp_path, **{f"i{k:04d}": k for k in range(1005)})
    plain, shuffled, again, other = (
        (convert(str(tmp_path), source, str(tmp_path / name), options=options), lmdb_records(tmp_path / name))
        for name, options in [
            ("plain", Options()),
            ("shuffled", Options(shuffle=True)),
            ("again", Options(shuffle=True)),
            ("other", Options(shuffle=True, seed=1)),
        ]
    )
    assert [key for key, _ in plain[1]] == [f"{k:08d}_i{k:04d}.png".encode() for k in range(1005)]
    assert [proto.Datum.FromString(value).label for _, value in plain[1]] == list(range(1005))
    assert shuffled == again != other
    order = [proto.Datum.FromString(value).label for _, value in shuffled[1]]
    assert order != sorted(order)
    assert sorted(order) == list(range(1005))
    assert [key for key, _ in shuffled[1]] == [f"{i:08d}_i{k:04d}.png".encode() for i, k in enumerate(order)]


def test_the_log_says_what_caffes_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(tmp_path, "--shuffle", "--encode_type=png", *RESIZE) == 0
    lines = [line.partition("] ")[2] for line in capsys.readouterr().err.splitlines()]
    assert lines == [
        "Shuffling data",
        "A total of 24 images.",
        "encode_type specified, assuming encoded=true.",
        f"Opened lmdb {tmp_path / 'db'}",
        "Processed 24 files.",
    ]


@pytest.mark.parametrize(
    ("flags", "on"),
    [(["--gray"], True), (["-gray=true"], True), (["--gray", "--nogray"], False), (["--gray", "--gray=false"], False)],
)
def test_switches_as_gflags_takes_them(flags: list[str], on: bool, tmp_path: Path) -> None:
    assert command(tmp_path, *flags) == 0
    assert datums(tmp_path / "db")[0].channels == (1 if on else 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a.png 0\ngone.png 1\n", "list.txt:2: there is no image"),
        ("a.png 0\nbroken.jpg 1\n", "broken.jpg: cannot decode the image"),
        ("a.png zero\n", "list.txt:1: "),
        ("a.png 3000000000\n", "the label 3000000000 is no 32-bit number"),
        ("\n", "the list names no images"),
        (f"{'./' * 300}a.png 0\n", "LMDB takes at most 511"),
    ],
)
def test_where_a_list_is_wrong_there_is_no_database(
    content: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = image_list(tmp_path, a=0)
    Path(source).write_text(content)
    (tmp_path / "broken.jpg").write_bytes((FILES / "images" / "im00.jpg").read_bytes()[:300])
    before = sorted(path.name for path in tmp_path.iterdir())
    assert main(["convert-imageset", str(tmp_path), source, str(tmp_path / "db")]) == 1
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_images_of_several_sizes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(tmp_path, "--check_size") == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert f"{LIST}:14: im13.png is 3 x 48 x 36 and im00.jpg is 3 x 40 x 40" in error
    assert not (tmp_path / "db").exists()
    assert command(tmp_path, "--check_size", *RESIZE) == 0


def test_a_database_is_never_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "db").mkdir()
    assert command(tmp_path) == 1
    assert "db: is there already" in capsys.readouterr().err.splitlines()[-1]
    assert list((tmp_path / "db").iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--encode_type=xyz"], 1, 'no image can be encoded as "xyz"'),
        (["--resize_width=40"], 2, "give both --resize-height and --resize-width, or neither"),
        (
            ["--resize_width=90000", "--resize_height=90000"],
            1,
            "a picture of 90000 x 90000 pixels; at most 134217728 are made, 1048576 to a side",
        ),
        (["--backend=hdf5"], 2, "invalid choice: 'hdf5'"),
        (["extra"], 2, "one argument too many"),
    ],
)
def test_flags_that_make_no_sense(
    flags: list[str], code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(tmp_path, *flags) == code
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="the database cannot be written: Not a directory"):
        convert(IMAGES, LIST, str(tmp_path / "file" / "db"))


def test_pixels_of_any_size_are_what_a_png_reader_gives(tmp_path: Path) -> None:
    """Our PNGs, read by another program: nothing is lost, whatever the size and the number of channels."""
    from sdcaffe.converters.encode import encode_image

    generator = np.random.default_rng(2)
    for height, width in [(1, 1), (1, 9), (9, 1), (7, 5), (32, 32), (90, 130)]:
        for channels in (1, 3):
            pixels = generator.integers(0, 256, (channels, height, width), dtype=np.uint8)
            picture = Image.open(io.BytesIO(encode_image(pixels, "png")))
            assert picture.mode == ("L" if channels == 1 else "RGB")
            read = np.asarray(picture).reshape(height, width, channels)[:, :, ::-1].transpose(2, 0, 1)
            np.testing.assert_array_equal(read, pixels)
