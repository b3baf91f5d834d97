"""Fields that ask for pictures larger than any that is read: refused, with the line, before memory is taken."""

from __future__ import annotations

import resource
from pathlib import Path

import cv2
import numpy as np
import pytest

from sdcaffe import Net, proto
from sdcaffe.errors import SdcaffeError

LISTED = 'type: "ImageData" image_data_param {{ source: "list.txt" batch_size: 2 {} }}'
DENSE = 'type: "DenseImageData" dense_image_data_param {{ source: "pairs.txt" batch_size: 2 {} }}'
SEGMENTED = (
    'type: "ImageSegData" image_data_param {{ source: "pairs.txt" batch_size: 1 label_type: PIXEL {} }} '
    "transform_param {{ {} }}"
)
WINDOWS = 'type: "WindowData" window_data_param {{ source: "windows.txt" batch_size: 2 }} transform_param {{ {} }}'
SIZES = [(60_000, 40_000), (1, 2**31), (2**32 - 1, 2**32 - 1), (2**21, 1)]
LAYERS = {
    "ImageData": lambda h, w: LISTED.format(f"new_height: {h} new_width: {w}"),
    "DenseImageData": lambda h, w: DENSE.format(f"new_height: {h} new_width: {w}"),
    "ImageSegData": lambda h, w: SEGMENTED.format(f"new_height: {h} new_width: {w}", ""),
    "ImageSegData's crop": lambda h, w: SEGMENTED.format("", f"crop_height: {h} crop_width: {w}"),
    "ImageSegData's square": lambda h, w: SEGMENTED.format("", f"crop_size: {max(h, w)}"),
    "WindowData": lambda h, w: WINDOWS.format(f"crop_size: {max(h, w)}"),
}


@pytest.fixture(scope="module", autouse=True)
def files(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("pictures")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        rng = np.random.default_rng(3)
        for name, size in {"a.png": (20, 30, 3), "l.png": (20, 30), "long.png": (8, 100_000)}.items():
            cv2.imwrite(name, rng.integers(0, 200, size, "u1"))
        Path("list.txt").write_text("a.png 0\n")
        Path("pairs.txt").write_text("a.png l.png\n")
        Path("long.txt").write_text("long.png long.png\n")
        Path("windows.txt").write_text("# 0\na.png\n3\n20\n30\n2\n1 0.9 1 1 9 9\n0 0.1 2 2 8 8\n")
        yield


def refused(layer: str) -> str:
    """What is said of a net with this layer, after no more memory than a small one takes."""
    text = f'name: "n"\nlayer {{ name: "data" top: "data" top: "label"\n{layer} }}\n'
    Path("net.prototxt").write_text(text)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(SdcaffeError) as caught:
        Net("net.prototxt", phase=proto.TRAIN).forward()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024
    return str(caught.value)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", LAYERS)
def test_a_size_that_is_asked_for(name: str, size: tuple[int, int]) -> None:
    said = refused(LAYERS[name](*size))
    assert "at most 134217728 are made, 1048576 to a side" in said
    assert said.startswith("net.prototxt:3"), said


def test_a_factor_that_makes_a_picture_too_long() -> None:
    said = refused(SEGMENTED.replace("pairs", "long").format("", "scale_factors: 64"))
    assert "long.txt:1: a picture of 6400000 x 512 pixels; at most" in said


@pytest.mark.parametrize("n", [10**8, 2**31 - 1])
@pytest.mark.parametrize("name", ["ImageData", "DenseImageData", "WindowData"])
def test_a_batch_of_so_many(name: str, n: int) -> None:
    layer = LAYERS[name](20, 30).replace("batch_size: 2", f"batch_size: {n}")
    assert "values; Caffe's limit is 2^31 - 1" in refused(layer)
