"""Resizing gives OpenCV's bytes."""

from __future__ import annotations

import numpy as np
import opencv
import pytest

from sdcaffe.data.resize import resize

CASES = [name.removesuffix("_from") for name in opencv.names("resize") if name.endswith("_from")]


def stored(image, layout):
    """The same image, its memory laid out otherwise: as decoders give it, in either order of the channels."""
    if layout == "planes":
        return image
    step = -1 if layout == "channels last, turned" else 1
    return np.ascontiguousarray(image[::step].transpose(1, 2, 0)).transpose(2, 0, 1)[::step]


@pytest.mark.parametrize("layout", ["planes", "channels last", "channels last, turned"])
@pytest.mark.parametrize("strip", [64, 2])  # of 2 rows: images here have many, and most shrink by more than a strip
@pytest.mark.parametrize("case", CASES)
def test_resize_equals_opencv(case, strip, layout, monkeypatch):
    monkeypatch.setattr("sdcaffe.data.resize._STRIP", strip)
    recorded = opencv.recordings()
    expected = recorded[f"resize_{case}_to"]
    image = stored(recorded[f"resize_{case}_from"], layout)
    assert np.array_equal(resize(image, *expected.shape[1:]), expected)


def test_there_are_recordings():
    assert len(CASES) == 11
