"""NVIDIA's img_rand_resize and stretches: exact where chance has no part, else by distribution."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from fork_layers import net_param
from scipy import stats
from test_ssd_annotated import data, made, write

from sdcaffe import proto
from sdcaffe.errors import DataError, LayerError
from sdcaffe.forks.ssd.dice import Dice
from sdcaffe.forks.ssd.stretched_size import StretchedSize


def of(text):
    return StretchedSize(net_param(f"layer {{ transform_param {{ {text} }} }}").layer[0].transform_param)


def both(name, low, high=None):
    return f"{name}_lower: {low} {name}_upper: {low if high is None else high} "


# What a picture of 20 x 33 pixels becomes: its size by the fork's rules, worked out by hand, and how it is resized.
CASES = {
    "the shorter side": (both("img_rand_resize", 12), (12, 20), cv2.INTER_NEAREST),  # 33 * 0.6 = 19.8
    "half a pixel goes up": (both("img_rand_resize", 10), (10, 17), cv2.INTER_NEAREST),  # 33 * 0.5 = 16.5
    "no larger": (both("img_rand_resize", 40), (20, 33), None),
    "larger": (both("img_rand_resize", 40) + "allow_upscale: true", (40, 66), cv2.INTER_CUBIC),
    "by area": (both("img_rand_resize", 10) + "interpolation_algo_down: INTER_AREA", (10, 17), cv2.INTER_AREA),
    "one limit alone": ("img_rand_resize_lower: 9", (20, 33), None),
    "flatter": (both("vertical_stretch", 0.5), (10, 33), cv2.INTER_NEAREST),
    "flatter and wider": (
        both("vertical_stretch", 0.5) + both("horizontal_stretch", 2) + "allow_upscale: true interpolation_algo_up: "
        "INTER_LINEAR",
        (10, 66),
        cv2.INTER_LINEAR,
    ),
    "no smaller than the crop": (both("vertical_stretch", 0.1), (8, 33), cv2.INTER_NEAREST),
    "a ratio of 1 does nothing": (both("rand_resize_ratio", 1), (20, 33), None),
}


@pytest.mark.parametrize("name", CASES)
def test_a_size_that_is_not_drawn_is_opencvs(name, tmp_path):
    body, (height, width), algorithm = CASES[name]
    picture = np.random.RandomState(3).randint(0, 256, (3, 20, 33)).astype(np.uint8)
    write(tmp_path / "db", proto.Datum(channels=3, height=20, width=33, data=picture.tobytes(), label=4))
    layer = made(data(tmp_path / "db", f"crop_size: 8 {body}", kind="Data"), "TEST")
    found, label = (top.numpy() for top in layer.next_batch(torch.device("cpu")))
    layer.close()
    whole = np.ascontiguousarray(picture.transpose(1, 2, 0))
    if algorithm is not None:
        before = cv2.ipp.useIPP()
        cv2.ipp.setUseIPP(False)
        whole = cv2.resize(whole, (width, height), interpolation=algorithm)
        cv2.ipp.setUseIPP(before)
    assert whole.shape[:2] == (height, width)
    top, left = (height - 8) // 2, (width - 8) // 2
    assert np.array_equal(found[0], whole[top : top + 8, left : left + 8].transpose(2, 0, 1))
    assert label == [4]


def test_the_shorter_side_is_drawn():
    drawn = of("crop_size: 1 " + both("img_rand_resize", 5, 8))
    assert drawn.draws
    sizes = [drawn.size(10, 25, Dice(1, 0, item)) for item in range(600)]
    counts = np.bincount([height for height, _ in sizes], minlength=10)
    assert counts[5:9].sum() == 600
    assert stats.chisquare(counts[5:9]).pvalue > 1e-3
    assert all(width == np.floor(2.5 * height + 0.5) for height, width in sizes)


def test_stretches_are_drawn_apart():
    text = both("vertical_stretch", 0.7, 1.3) + both("horizontal_stretch", 0.5, 1.0) + "allow_upscale: true"
    drawn = of("crop_size: 1 " + text)
    sizes = np.array([drawn.size(2000, 4000, Dice(2, 0, item)) for item in range(800)])
    assert stats.kstest(sizes[:, 0] / 2000, stats.uniform(0.7, 0.6).cdf).pvalue > 1e-3
    assert stats.kstest(sizes[:, 1] / 4000, stats.uniform(0.5, 0.5).cdf).pvalue > 1e-3
    assert abs(np.corrcoef(sizes.T)[0, 1]) < 0.15


def test_the_longer_side_is_the_shorter_times_a_ratio():
    drawn = of("crop_size: 1 allow_upscale: true " + both("rand_resize_ratio", 1, 2))
    for high, wide in ((1000, 3000), (3000, 1000), (1000, 1000)):
        sizes = np.array([drawn.size(high, wide, Dice(3, 0, item)) for item in range(400)])
        assert (sizes.min(1) == 1000).all()
        assert stats.kstest(sizes.max(1) / 1000, stats.uniform(1, 1).cdf).pvalue > 1e-3
        taller = (sizes[:, 0] > sizes[:, 1]).mean()
        assert taller == (high > wide) if high != wide else 0.4 < taller < 0.6


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (both("img_rand_resize", 9), "need a crop_size"),
        ("crop_size: 4 " + both("img_rand_resize", 9, 8), "9 to 8 pixels are none"),
        ("crop_size: 4 " + both("vertical_stretch", -1), "must be 0 or more"),
        ("crop_size: 4 vertical_stretch_upper: inf", "must be 0 or more"),
    ],
)
def test_what_cannot_be(tmp_path, body, message):
    write(tmp_path / "db", proto.Datum(channels=1, height=8, width=8, data=bytes(64)))
    with pytest.raises(LayerError, match=message):
        made(data(tmp_path / "db", body, kind="Data"))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("crop_size: 9 " + both("img_rand_resize", 9), "8 x 8 pixels, smaller than the crop of 9 x 9"),
        ("crop_size: 4 allow_upscale: true " + both("img_rand_resize", 99999), "at most"),
    ],
)
def test_a_size_that_cannot_be_is_told_with_the_picture(tmp_path, body, message):
    write(tmp_path / "db", proto.Datum(channels=1, height=8, width=8, data=bytes(64)))
    layer = made(data(tmp_path / "db", body, kind="Data"))
    with pytest.raises(DataError, match=message):
        layer.next_batch(torch.device("cpu"))
    layer.close()
