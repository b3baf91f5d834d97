"""Decoding gives the channels and bytes that OpenCV gives, and refuses what is no picture."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from contextlib import suppress

import numpy as np
import opencv
import pytest
from PIL import EpsImagePlugin, Image

from sdcaffe.data import decode
from sdcaffe.data import jpeg as jpeg_module
from sdcaffe.data.database import DatumSource
from sdcaffe.data.decode import decode_image, read_image
from sdcaffe.data.resize import resize
from sdcaffe.errors import DataError
from sdcaffe.pycaffe.io import load_image

DECODERS = [
    pytest.param(decode_image, id="pillow"),
    pytest.param(jpeg_module.decode_image, id="torchvision"),
]
KINDS = [f"{color}_{name}" for color in ("native", "color", "gray") for name in opencv.names(color)]


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("case", KINDS)
def test_decoding_equals_opencv(case, decoder):
    color, _, name = case.partition("_")
    recorded = opencv.recordings()
    image = decoder(recorded[f"picture_{name}"].tobytes(), color, name)
    if case == "gray_png_rgba":  # libpng drops alpha before or after rounding by version
        assert np.abs(image.astype(int) - recorded[case]).max() <= 1
    else:
        assert np.array_equal(image, recorded[case])


def test_files_decode_and_resize_as_caffe_stored_them(tmp_path):
    """goldens/files/lmdb_raw is what Caffe's convert_imageset made of these files, resized to 40x40."""
    shutil.copytree(opencv.FILES / "lmdb_raw", tmp_path / "db")
    source = DatumSource(str(tmp_path / "db"), "LMDB")
    resized = 0
    for index, line in enumerate((opencv.FILES / "list.txt").read_text().splitlines()):
        name, label = line.split()
        image = read_image(str(opencv.FILES / "images" / name), color=True)
        resized += image.shape != (3, 40, 40)
        stored, stored_label = source.read(index)
        assert np.array_equal(resize(image, 40, 40), stored)
        assert int(label) == stored_label
    source.close()
    assert resized


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no image format that is known"),
        (b"no picture at all", "no image format that is known"),
        (opencv.recordings()["picture_jpeg_rgb"].tobytes()[:200], "cannot decode the image"),
        (opencv.recordings()["picture_png_rgb"].tobytes()[:100], "cannot decode the image"),
    ],
)
def test_broken_pictures_are_refused(content, message, decoder):
    with pytest.raises(DataError, match=message) as caught:
        decoder(content, "color", "pictures/a.jpg")
    assert str(caught.value).startswith("pictures/a.jpg: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(kind, decoder, monkeypatch):
    monkeypatch.setattr(decode, "MAX_PIXELS", 100)
    file = io.BytesIO()
    Image.new("RGB", (20, 6)).save(file, kind)
    with pytest.raises(DataError, match="20x6 pixels; at most 100"):
        decoder(file.getvalue(), "native", "big")


def jpeg(height=37, width=50, mode="RGB", **options):
    pixels = np.random.default_rng(height).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize((width, height)).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


TURNED = Image.Exif()
TURNED[0x0112] = 6  # orientation: a quarter turn


@pytest.mark.parametrize("color", ["native", "color", "gray"])
@pytest.mark.parametrize(
    ("content", "plain"),
    [
        *[(jpeg(quality=quality), True) for quality in (20, 75, 95)],
        *[(jpeg(subsampling=sampling), True) for sampling in ("4:4:4", "4:2:2", "4:2:0", "4:1:1")],
        *[(jpeg(height, width), True) for height, width in ((1, 1), (2, 3), (16, 17), (64, 8))],
        (jpeg(progressive=True), True),
        (jpeg(mode="L"), True),
        (jpeg(comment="words", icc_profile=b"profile"), True),
        (jpeg(mode="CMYK"), False),
        (jpeg(exif=TURNED), False),
        (jpeg(keep_rgb=True), False),
    ],
)
def test_both_decoders_give_the_same_bytes(content, plain, color):
    """What torchvision decodes is what Pillow does; what is out of the ordinary is left to Pillow."""
    assert jpeg_module._is_plain(content) == plain
    assert np.array_equal(jpeg_module.decode_image(content, color, "a.jpg"), decode_image(content, color, "a.jpg"))


def test_whatever_bytes_are_damaged_both_decoders_agree(capfd):
    random = np.random.default_rng(0)
    whole = jpeg(quality=90)

    def outcome(decoder, content):
        try:
            return decoder(content, "color", "a.jpg").tobytes()
        except DataError as error:
            return str(error)

    refused = 0
    for _ in range(200):
        content = bytearray(whole)
        for place in random.integers(0, len(whole), 3):
            content[place] = random.integers(0, 256)
        cut = bytes(content[: random.integers(2, len(whole))]) if random.random() < 0.3 else bytes(content)
        expected = outcome(decode_image, cut)
        assert outcome(jpeg_module.decode_image, cut) == expected
        refused += isinstance(expected, str)
    assert 20 < refused < 180
    capfd.readouterr()  # the library's remarks


def test_a_missing_picture_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.png: cannot read the image: No such file"):
        read_image(str(tmp_path / "none.png"), color=True)


def test_a_large_picture_is_read_without_a_warning_of_pillows(tmp_path):
    """In a process of its own: pytest sets up warnings anew for each test."""
    Image.new("RGB", (12, 12)).save(tmp_path / "large.png")
    script = (
        "import sys\nfrom PIL import Image\nfrom sdcaffe.data.decode import read_image\n"
        "Image.MAX_IMAGE_PIXELS = 100  # of more Pillow warns, of twice as many it refuses\n"
        "print(read_image(sys.argv[1], color=True).shape)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "large.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("(3, 12, 12)\n", "")


def test_no_picture_starts_a_program(tmp_path, monkeypatch):
    """Pillow hands an EPS file, which is a program, to Ghostscript, where that is installed."""
    started = tmp_path / "started"
    for name in ("gs", "gswin32c", "gswin64c"):
        (tmp_path / name).write_text(f"#!/bin/sh\n: > {started}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    picture = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
    with Image.open(io.BytesIO(picture)) as opened, suppress(Exception):
        opened.load()
    assert started.exists()
    started.unlink()
    (tmp_path / "a.png").write_bytes(picture)
    for color in ("native", "color", "gray"):
        with pytest.raises(DataError, match="no image format that is known"):
            decode_image(picture, color, "a.png")
    with pytest.raises(OSError, match="cannot identify image file"):
        load_image(str(tmp_path / "a.png"))
    assert not started.exists()
