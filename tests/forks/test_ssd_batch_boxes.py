"""The boxes of a batch of pictures of all sizes, against pixels counted in float64, a box at a time."""

from __future__ import annotations

import numpy as np
import pytest

from sdcaffe import proto
from sdcaffe.forks.ssd.geometry import Labelled
from sdcaffe.forks.ssd.picture import Picture
from sdcaffe.forks.ssd.pipeline import Cropped, Pipeline

SIDE = 60  # of what the net sees


def picture(random, count):
    """A picture with boxes, which may end beyond it."""
    height, width = random.randint(20, 200, 2)
    low = random.uniform(-0.1, 0.8, (count, 2))
    boxes = np.concatenate([low, low + random.uniform(0.01, 0.5, (count, 2))], 1).astype(np.float32)
    facts = np.stack([random.randint(1, 9, count), np.arange(count), np.zeros(count)], 1).astype(np.float32)
    pixels = np.zeros((3, 1, 1), np.uint8)
    return Picture(pixels, Labelled(boxes, facts), int(height), int(width), True, None, True, "a picture")


def expected(picture, window, mirrored, padded):
    """Of each box that is seen its instance, and its sides in the window."""
    scale = np.array([SIDE / picture.width, SIDE / picture.height])
    if padded:
        scale[:] = scale.min()
    before = (SIDE - scale * (picture.width, picture.height)) / 2
    found = {}
    for (left, top, right, bottom), (_, instance, _) in zip(
        picture.labelled.boxes.astype(float), picture.labelled.facts, strict=True
    ):
        ends = []
        for axis, (low, high) in enumerate(((left, right), (top, bottom))):
            size = (picture.width, picture.height)[axis] * scale[axis]
            low, high = before[axis] + max(low * size, 0), before[axis] + min(high * size, SIDE)
            first, last = (window[axis] * SIDE, window[axis + 2] * SIDE)
            ends.append([min(max((end - first) / (last - first), 0), 1) for end in (low, high)])
        (x, u), (y, v) = ends
        if u > x and v > y:
            found[int(instance)] = (1 - u, y, 1 - x, v) if mirrored else (x, y, u, v)
    return found


@pytest.mark.parametrize("mode", ["WARP", "FIT_LARGE_SIZE_AND_PAD"])
@pytest.mark.parametrize("counts", [(3, 0, 5, 2), (4,), (0, 0)], ids=str)
def test_each_picture_has_its_own(mode, counts):
    random = np.random.RandomState(len(counts))
    transform = proto.TransformationParameter()
    proto.text.parse(f"resize_param {{ height: {SIDE} width: {SIDE} resize_mode: {mode} }}", transform, "a test")
    pictures = [picture(random, count) for count in counts]
    cropped = []
    for _ in counts:
        low = random.uniform(0, 0.4, 2)
        window = np.concatenate([low, low + random.uniform(0.3, 0.6, 2)]).astype(np.float32)
        cropped.append(Cropped(np.zeros((3, 1, 1), np.uint8), window, bool(random.randint(2))))
    every = Pipeline(transform, (), proto.TRAIN).labelled(pictures, cropped)
    assert len(every) == len(counts)
    for own, one, cut in zip(every, pictures, cropped, strict=True):
        want = expected(one, cut.window.astype(float), cut.mirrored, mode != "WARP")
        assert own.facts[:, 1].astype(int).tolist() == list(want)
        labels = one.labelled.facts[[*want], 0] if want else []
        assert own.facts[:, 0].tolist() == list(labels)
        np.testing.assert_allclose(own.boxes, np.array(list(want.values())).reshape(-1, 4), atol=1e-5)
