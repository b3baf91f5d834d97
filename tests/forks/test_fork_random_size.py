"""Intel's random_resize_param and random_aspect_ratio_param: exact where chance has no part, else by distribution."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from fork_layers import net_param
from test_ssd_annotated import data, made, write

from sdcaffe import proto
from sdcaffe.errors import DataError, LayerError
from sdcaffe.forks.ssd import interpolation
from sdcaffe.forks.ssd.dice import Dice
from sdcaffe.forks.ssd.random_size import RandomSize


def resize(pixels, param, dice):
    return interpolation.resized(pixels, param.height, param.width, (list(param.interp_mode) or [1])[0])


def transform(text):
    return net_param(f"layer {{ transform_param {{ {text} }} }}").layer[0].transform_param


def places(height, width):
    """A picture whose first two channels say where a pixel is."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    return np.stack([rows, columns, 0 * rows])


@pytest.mark.parametrize(("height", "width"), [(20, 33), (33, 20), (24, 24)])
def test_a_shorter_side_of_one_size_is_opencvs(tmp_path, height, width):
    picture = np.random.RandomState(3).randint(0, 256, (3, height, width)).astype(np.uint8)
    write(tmp_path / "db", proto.Datum(channels=3, height=height, width=width, data=picture.tobytes(), label=4))
    body = "crop_size: 16 random_resize_param { min_size: 17 max_size: 17 resize_param { interp_mode: LINEAR } }"
    layer = made(data(tmp_path / "db", body, kind="Data"), "TEST")
    found, label = (top.numpy() for top in layer.next_batch(torch.device("cpu")))
    # the longer side: 33 / 20 * 17 = 28.05
    size = {20: (17, 28), 33: (28, 17), 24: (17, 17)}[height]
    whole = cv2.resize(np.ascontiguousarray(picture.transpose(1, 2, 0)), size[::-1], interpolation=cv2.INTER_LINEAR)
    top, left = (size[0] - 16) // 2, (size[1] - 16) // 2
    assert np.array_equal(found[0], whole[top : top + 16, left : left + 16].transpose(2, 0, 1))
    assert label == [4]


def test_the_shorter_side_is_drawn():
    body = "crop_size: 1 random_resize_param { min_size: 5 max_size: 8 }"
    drawn = RandomSize(transform(body), resize)
    assert drawn.draws
    sizes = [drawn(places(10, 25), Dice(1, 0, item)).shape[1:] for item in range(600)]
    counts = {height: sum(h == height for h, _ in sizes) for height in range(4, 10)}
    assert counts[4] == counts[9] == 0
    assert all(abs(counts[height] - 150) < 50 for height in (5, 6, 7, 8))
    assert all(width == int(2.5 * height) for height, width in sizes)


def test_sizes_that_are_not_given_are_the_pictures_sides():
    drawn = RandomSize(transform("crop_size: 1 random_resize_param {}"), resize)
    shorter = {min(drawn(places(6, 9), Dice(1, 0, item)).shape[1:]) for item in range(200)}
    assert shorter == {6, 7, 8, 9}


def test_a_part_of_a_drawn_area_and_shape():
    """Windows are read off the pixels' own places, of NEAREST interpolation to a square."""
    body = """crop_size: 50 random_aspect_ratio_param { min_area_ratio: 0.25 max_area_ratio: 0.5
        aspect_ratio_change: 0.5 max_attempt: 100 resize_param { interp_mode: NEAREST } }"""
    drawn, found = RandomSize(transform(body), resize), []
    for item in range(800):
        part = drawn(places(100, 100), Dice(2, 0, item)).astype(int)
        assert part.shape == (3, 50, 50)
        (top, bottom), (left, right) = part[0, [0, -1], 0], part[1, 0, [0, -1]]
        # the last of 50 pixels is read at 49 / 50 of the side
        found.append([top, left, (bottom - top) * 50 / 49, (right - left) * 50 / 49])
    top, left, height, width = np.array(found).T
    area, stretch = height * width / 1e4, height / width
    assert 0.22 < area.min() < 0.28
    assert 0.45 < area.max() < 0.53
    assert area.mean() == pytest.approx(0.36, abs=0.03)  # larger areas fit less often
    # sides of sqrt(area) times 0.5 to 2 and its inverse: shapes of 1/4 to 4, either way as often
    assert (stretch < 1).mean() == pytest.approx(0.5, abs=0.06)
    assert stretch.min() < 0.5
    assert stretch.max() > 2
    roomy = (height < 90) & (width < 90)
    down, across = top[roomy] / (100 - height[roomy]), left[roomy] / (100 - width[roomy])
    assert (down.mean(), across.mean()) == pytest.approx((0.5, 0.5), abs=0.05)


def test_where_no_part_fits_the_shorter_side_is_the_crop():
    body = """crop_size: 8 random_aspect_ratio_param { min_area_ratio: 1 max_area_ratio: 1 aspect_ratio_change: 1
        max_attempt: 3 }"""
    assert RandomSize(transform(body), resize)(places(10, 30), Dice(1, 0, 0)).shape == (3, 8, 24)


def test_of_both_the_sizes_are_done():
    body = "crop_size: 4 random_resize_param { min_size: 6 max_size: 6 } random_aspect_ratio_param {}"
    assert RandomSize(transform(body), resize)(places(10, 20), Dice(1, 0, 0)).shape == (3, 6, 12)


WRONG = [
    ("random_resize_param {}", "need a crop_size"),
    ("random_aspect_ratio_param {}", "need a crop_size"),
    ("crop_size: 4 random_resize_param { min_size: 9 max_size: 8 }", "9 to 8 pixels are none"),
    ("crop_size: 4 random_aspect_ratio_param { min_area_ratio: 0.9 max_area_ratio: 0.5 }", "areas from 0.9 to 0.5"),
    ("crop_size: 4 random_aspect_ratio_param { aspect_ratio_change: 0 }", "aspect_ratio_change must be above 0"),
]


@pytest.mark.parametrize(("body", "message"), WRONG)
def test_settings_that_cannot_be(tmp_path, body, message):
    write(tmp_path / "db", proto.Datum(channels=3, height=6, width=6, data=bytes(108), label=0))
    with pytest.raises(LayerError, match=message):
        made(data(tmp_path / "db", body, kind="Data"))


def test_floats_have_no_other_size(tmp_path):
    write(tmp_path / "db", proto.Datum(channels=1, height=6, width=6, float_data=[0.5] * 36, label=0))
    body = "crop_size: 4 random_resize_param { min_size: 5 max_size: 5 }"
    with pytest.raises(DataError, match="holds floats"):
        made(data(tmp_path / "db", body, kind="Data")).next_batch(torch.device("cpu"))
