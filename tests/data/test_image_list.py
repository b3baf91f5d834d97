"""Lists of image files: paths with spaces, root folders, and lines that name nothing."""

from __future__ import annotations

import numpy as np
import opencv
import pytest

from sdcaffe.data.image_list import ImageList, read_list
from sdcaffe.errors import DataError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a picture.png").write_bytes(opencv.recordings()["picture_png_rgb"].tobytes())
    (tmp_path / "b.jpg").write_bytes(opencv.recordings()["picture_jpeg_rgb"].tobytes())
    return tmp_path


def write(folder, text):
    (folder / "list.txt").write_text(text)
    return "list.txt"


def test_the_label_is_what_follows_the_last_space(folder):
    entries = read_list(write(folder, "a picture.png 3\n\nb.jpg -1\r\n"))
    assert [(entry.path, entry.label, entry.line) for entry in entries] == [("a picture.png", 3, 1), ("b.jpg", -1, 3)]


def test_the_root_folder_is_put_before_each_path_as_it_is(folder):
    assert read_list(write(folder, "b.jpg 1"), f"{folder}/")[0].path == f"{folder}/b.jpg"


def test_images_are_those_opencv_reads(folder):
    source = write(folder, "a picture.png 3\nb.jpg 4\n")
    for color, kind in ((True, "color"), (False, "gray")):
        images = ImageList(source, "", None, color=color)
        assert len(images) == 2
        for index, name in enumerate(("png_rgb", "jpeg_rgb")):
            image, label = images.read(index)
            assert np.array_equal(image, opencv.recordings()[f"{kind}_{name}"])
            assert label == 3 + index
    assert images.name(1) == "line 2 (b.jpg)"


def test_all_images_may_be_resized(folder):
    images = ImageList(write(folder, "a picture.png 3\nb.jpg 4\n"), "", (7, 9), color=True)
    assert [images.read(i)[0].shape for i in range(2)] == [(3, 7, 9)] * 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("b.jpg 1\ngone.png 2\n", r"list\.txt:2: there is no image gone\.png; set root_folder"),
        ("b.jpg\n", r'list\.txt:1: "b\.jpg" is not a path, a space and a whole-number label'),
        ("b.jpg one\n", r'list\.txt:1: "b\.jpg one" is not a path'),
        ("\n \n", r"list\.txt: the list names no images"),
    ],
)
def test_lists_that_cannot_be_used(text, message, folder):
    with pytest.raises(DataError, match=message):
        read_list(write(folder, text))


def test_a_list_that_is_missing(folder):
    with pytest.raises(DataError, match=r"none\.txt: cannot read the list of images: No such file"):
        read_list("none.txt")


def test_a_list_without_end():
    with pytest.raises(DataError, match=r"/dev/zero: cannot read the list of images: is a device"):
        read_list("/dev/zero")
