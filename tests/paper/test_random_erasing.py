"""Distort's random erasing: rectangles, their sizes, shapes and places, and what they are filled with."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from test_distort import make

from sdcaffe.errors import LayerError


def rectangles(param: str, n: int, h: int, w: int) -> np.ndarray:
    """Top, left, height and width of what is erased in each of n images; fails where it is no full rectangle."""
    torch.manual_seed(0)
    top = make(f"erasing {{ {param} }}", (n, 1, h, w))(torch.ones(n, 1, h, w))
    found = []
    for image in top[:, 0].numpy():
        assert ((image == 0) | (image == 1)).all()
        rows, columns = np.flatnonzero((image == 0).any(1)), np.flatnonzero((image == 0).any(0))
        if len(rows):
            assert (image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] == 0).all()
            assert (image == 0).sum() == len(rows) * len(columns)
            found.append((rows[0], columns[0], len(rows), len(columns)))
        else:
            found.append((-1, -1, 0, 0))
    return np.array(found)


def test_so_many_images_are_erased():
    erased = rectangles("probability: 0.3", 4000, 8, 8)[:, 2] > 0
    assert abs(erased.mean() - 0.3) < 4 * (0.3 * 0.7 / 4000) ** 0.5
    assert rectangles("probability: 1", 500, 8, 8)[:, 2].min() > 0


def test_area_and_aspect_are_as_asked():
    """On a window so large that rounding to pixels does not show: areas uniform, log aspects symmetric."""
    found = rectangles("probability: 1 min_area: 0.05 max_area: 0.2 max_aspect: 2", 500, 250, 250)
    heights, widths = found[:, 2].astype(float), found[:, 3].astype(float)
    areas, aspects = heights * widths / 250**2, np.log(heights / widths) / np.log(2)
    assert kstest(areas, "uniform", (0.05, 0.15)).pvalue > 0.001
    assert kstest(aspects, "uniform", (-1, 2)).pvalue > 0.001
    assert abs(np.corrcoef(areas, aspects)[0, 1]) < 0.15


def test_the_defaults_are_the_authors():
    """Zhong et al.: areas from 0.02 to 0.4, aspects from 0.3 to 1 / 0.3."""
    found = rectangles("probability: 1", 500, 200, 200)
    areas, aspects = found[:, 2] * found[:, 3] / 200**2, found[:, 2] / found[:, 3]
    assert areas.min() == pytest.approx(0.02, abs=0.01)
    assert areas.max() == pytest.approx(0.4, abs=0.01)
    assert aspects.min() == pytest.approx(0.3, abs=0.05)
    assert aspects.max() == pytest.approx(1 / 0.3, rel=0.05)


def test_every_place_is_as_likely():
    found = rectangles("probability: 1 min_area: 0.25 max_area: 0.25 max_aspect: 1", 9000, 6, 6)
    assert (found[:, 2:] == 3).all()
    counts = np.bincount(found[:, 0] * 4 + found[:, 1], minlength=16)
    assert ((counts - 562.5) ** 2 / 562.5).sum() < 37.7  # the 0.999 quantile of chi squared with 15 degrees of freedom


@pytest.mark.parametrize(("h", "w"), [(4, 40), (40, 4), (1, 1), (1, 9)])
def test_what_has_no_room_is_as_long_as_the_window(h, w):
    found = rectangles("probability: 1 min_area: 0.3 max_area: 1", 300, h, w)
    assert (found[:, 2] >= 1).all()
    assert (found[:, 2] <= h).all()
    assert (found[:, 3] <= w).all()
    areas = found[:, 2] * found[:, 3] / (h * w)
    assert areas.min() >= 0.3 - 0.5 / min(h, w) / 0.3
    assert areas.max() <= 1


@pytest.mark.parametrize(("stage", "expected"), [("RAW", [(0 - 10) / 2, (0 - 20) / 4]), ("NORMALIZED", [0.0, 0.0])])
def test_the_fill_is_the_border_s(stage, expected):
    param = f"mean_value: 10 mean_value: 20 std_value: 2 std_value: 4 pad_stage: {stage}"
    torch.manual_seed(0)
    images = torch.randint(50, 200, (40, 2, 6, 6)).float()
    top = make(f"{param} erasing {{ probability: 1 }}", (40, 2, 6, 6))(images)
    plain = make(param, (40, 2, 6, 6))(images)
    changed = (top != plain).all(1, keepdim=True)
    assert changed.flatten(1).any(1).all()
    fill = torch.tensor(expected).reshape(1, 2, 1, 1)
    assert torch.equal(top, torch.where(changed, fill, plain))


def test_each_top_is_erased_by_itself():
    torch.manual_seed(0)
    a, b = make("erasing { probability: 0.5 }", (2000, 1, 5, 5), tops=2)(torch.ones(2000, 1, 5, 5))
    erased = [(t == 0).flatten(1).any(1).double() for t in (a, b)]
    assert abs(np.corrcoef(erased[0].numpy(), erased[1].numpy())[0, 1]) < 0.1


@pytest.mark.parametrize(
    ("param", "words"),
    [
        ("probability: 1.5", "probability of erasing is 1.5"),
        ("min_area: 0", "min_area 0 and max_area 0.4"),
        ("min_area: 0.5", "min_area 0.5 and max_area 0.4"),
        ("max_area: 1.1", "max_area 1.1"),
        ("max_aspect: 0.5", "max_aspect of erasing is 0.5"),
        ("max_aspect: nan", "max_aspect of erasing is nan"),
    ],
)
def test_mistakes_name_the_layer_and_the_values(param, words):
    with pytest.raises(LayerError, match=words):
        make(f"erasing {{ {param} }}", (2, 3, 4, 4))
