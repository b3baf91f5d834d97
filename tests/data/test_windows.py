"""Window files, and windows cut as Caffe cuts them with OpenCV."""

from __future__ import annotations

import numpy as np
import opencv
import pytest

from sdcaffe.data.windows import Warp, Window, read_windows
from sdcaffe.errors import DataError

CASES = opencv.recordings()["window_cases"]


@pytest.mark.parametrize("case", range(len(CASES)))
def test_windows_equal_opencvs(case):
    x1, y1, x2, y2, crop, context, square, mirror = CASES[case].tolist()
    warp = Warp(crop, context, bool(square))
    image = opencv.recordings()["window_image"]
    pixels, row, column = warp.cut(image, (x1, y1, x2, y2), bool(mirror), "here")
    found = np.full((3, crop, crop), -1, np.int16)
    found[:, row : row + pixels.shape[1], column : column + pixels.shape[2]] = pixels
    assert np.array_equal(found, opencv.recordings()[f"window_{case}"])


def test_some_recorded_windows_reach_beyond_the_image():
    beyond = [i for i in range(len(CASES)) if (opencv.recordings()[f"window_{i}"] == -1).any()]
    assert len(beyond) >= 4


def test_a_window_outside_the_image_is_refused():
    image = np.zeros((3, 10, 12), np.uint8)
    for box in ((0, 0, 12, 5), (-1, 0, 5, 5), (6, 6, 5, 7)):
        with pytest.raises(DataError, match="lies outside the image of 12x10"):
            Warp(8, 0, False).cut(image, box, False, "here")
    with pytest.raises(DataError, match="lies outside the image"):
        Warp(8, 1, False).cut(image, (40, 40, 50, 50), False, "here")


def write(folder, text, images=("a.png", "b.png")):
    for name in images:
        (folder / name).write_bytes(opencv.recordings()["picture_png_rgb"].tobytes())
    (folder / "windows.txt").write_text(text)
    return str(folder / "windows.txt")


GOOD = """# 0
a.png
3
12
10
4
1 0.5 0 0 4 4
2 0.7 1 1 5 5
2 0.3 2 2 6 6
1 0.1 3 3 7 7
# 1
b.png 3 12 10 1
5 0.2 0 1 2 3
"""


def test_windows_are_foreground_background_or_neither(tmp_path):
    found = read_windows(write(tmp_path, GOOD), f"{tmp_path}/", 0.5, 0.25)
    assert found.paths == [f"{tmp_path}/a.png", f"{tmp_path}/b.png"]
    assert found.foreground == [Window(0, 1, (0, 0, 4, 4)), Window(0, 2, (1, 1, 5, 5))]
    assert found.background == [Window(0, 0, (3, 3, 7, 7)), Window(1, 0, (0, 1, 2, 3))]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the window file is empty"),
        ("0 a.png", r'image 0: "0" where an image should begin with #'),
        ("# 0 a.png 3 12 10 2 1 0.5 0 0 4 4", "image 0: the file ends in the middle"),
        ("# 0 a.png 3 12", "image 0: the file ends in the middle"),
        ("# 0 a.png 3 12 10 1 1 0.5 0 0", "image 0: the file ends in the middle"),
        ("# 0 a.png 3 12 ten", "image 0: a number is missing"),
        ("# 1 a.png 3 12 10 0", "image 0: has the index 1"),
        ("# 0 c.png 3 12 10 0", "image 0: there is no image .*c.png"),
        ("# 0 a.png 1 12 10 0", "image 0: says 1 channels; windows are cut from colour images"),
        ("# 0 a.png 3 12 10 1 0 0.9 0 0 4 4", "image 0: a foreground window has label 0"),
    ],
)
def test_window_files_that_cannot_be_used(text, message, tmp_path):
    with pytest.raises(DataError, match=message):
        read_windows(write(tmp_path, text), f"{tmp_path}/", 0.5, 0.5)


def test_a_window_file_that_is_missing():
    with pytest.raises(DataError, match=r"none\.txt: cannot read the window file: No such file"):
        read_windows("none.txt", "", 0.5, 0.5)
