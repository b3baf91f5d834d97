"""Resizing gives OpenCV's bytes."""

from __future__ import annotations

import numpy as np
import opencv
import pytest

from sdcaffe.data.resize import resize

CASES = [name.removesuffix("_from") for name in opencv.names("resize") if name.endswith("_from")]


@pytest.mark.parametrize("case", CASES)
def test_resize_equals_opencv(case):
    recorded = opencv.recordings()
    expected = recorded[f"resize_{case}_to"]
    assert np.array_equal(resize(recorded[f"resize_{case}_from"], *expected.shape[1:]), expected)


def test_there_are_recordings():
    assert len(CASES) == 11
