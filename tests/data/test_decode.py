"""Decoding gives the channels and bytes that OpenCV gives, and refuses what is no picture."""

from __future__ import annotations

import io
import shutil

import numpy as np
import opencv
import pytest
from PIL import Image

from sdcaffe.data import decode
from sdcaffe.data.database import DatumSource
from sdcaffe.data.decode import decode_image, read_image
from sdcaffe.data.resize import resize
from sdcaffe.errors import DataError

KINDS = [f"{color}_{name}" for color in ("native", "color", "gray") for name in opencv.names(color)]


@pytest.mark.parametrize("case", KINDS)
def test_decoding_equals_opencv(case):
    color, _, name = case.partition("_")
    recorded = opencv.recordings()
    image = decode_image(recorded[f"picture_{name}"].tobytes(), color, name)
    assert image.flags.c_contiguous
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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no image format that is known"),
        (b"no picture at all", "no image format that is known"),
        (opencv.recordings()["picture_jpeg_rgb"].tobytes()[:200], "cannot decode the image"),
        (opencv.recordings()["picture_png_rgb"].tobytes()[:100], "cannot decode the image"),
    ],
)
def test_broken_pictures_are_refused(content, message):
    with pytest.raises(DataError, match=message) as caught:
        decode_image(content, "color", "pictures/a.jpg")
    assert str(caught.value).startswith("pictures/a.jpg: ")
    assert "\n" not in str(caught.value)


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr(decode, "MAX_PIXELS", 100)
    file = io.BytesIO()
    Image.new("RGB", (20, 6)).save(file, "PNG")
    with pytest.raises(DataError, match="20x6 pixels; at most 100"):
        decode_image(file.getvalue(), "native", "big.png")


def test_a_missing_picture_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.png: cannot read the image: No such file"):
        read_image(str(tmp_path / "none.png"), color=True)
