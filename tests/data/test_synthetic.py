"""The embedded set: its size and balance, that it is always the same, and what its class does not depend on."""

from __future__ import annotations

import numpy as np
import pytest

from sdcaffe.data import synthetic as module
from sdcaffe.data.opening import open_source
from sdcaffe.data.synthetic import synthetic
from sdcaffe.errors import DataError


@pytest.fixture(scope="module")
def parts():
    return {split: synthetic(split) for split in ("train", "test")}


@pytest.mark.parametrize("split", ["train", "test"])
def test_two_thousand_images_of_ten_classes(parts, split):
    images, labels = parts[split]
    assert images.shape == (2000, 3, 32, 32)
    assert images.dtype == np.uint8
    assert np.bincount(labels).tolist() == [200] * 10


def test_it_is_always_the_same(parts):
    assert np.array_equal(synthetic("test")[0], parts["test"][0])


def test_no_image_is_in_both_parts(parts):
    every = np.concatenate([parts["train"][0], parts["test"][0]]).reshape(4000, -1)
    assert len({row.tobytes() for row in every}) == 4000


def test_colour_and_place_do_not_give_the_class_away(parts):
    """A linear classifier on the mean colours of an 8x8 grid, least squares, stays near chance (10%)."""
    means = {k: v[0].reshape(2000, 3, 8, 4, 8, 4).mean((3, 5)).reshape(2000, -1) for k, v in parts.items()}
    inputs = {k: np.hstack([v / 255, np.ones((2000, 1))]) for k, v in means.items()}
    targets = np.eye(10)[parts["train"][1]]
    weights = np.linalg.lstsq(
        inputs["train"].T @ inputs["train"] + np.eye(193), inputs["train"].T @ targets, rcond=None
    )
    right = (inputs["test"] @ weights[0]).argmax(1) == parts["test"][1]
    assert right.mean() < 0.2


def test_every_class_is_a_shape_of_its_own():
    """Drawn upright at one size, any two shapes differ in a tenth of the pixels that either covers."""
    line = np.linspace(-1.2, 1.2, 64, dtype=np.float32)
    x, y = np.meshgrid(line, line)
    covers = [shape(x, y) < 0 for shape in module._SHAPES]
    for i, first in enumerate(covers):
        assert 0.03 < first.mean() < 0.7
        for second in covers[:i]:
            assert (first ^ second).sum() > 0.1 * (first | second).sum()


def test_it_is_a_source():
    source = open_source("synthetic:test")
    image, label = source.read(13)
    assert len(source) == 2000
    assert image.shape == (3, 32, 32)
    assert label == 3
    source.close()


def test_it_takes_no_folder():
    with pytest.raises(DataError, match="made in memory and takes no folder; write synthetic:train"):
        open_source("synthetic:train:data")
