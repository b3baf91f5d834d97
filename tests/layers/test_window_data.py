"""WindowData: shares of foreground and background, means and scale, and parameters without meaning."""

from __future__ import annotations

import io
import logging

import data_layers
import numpy as np
import pytest
from PIL import Image

from sdcaffe import proto
from sdcaffe.errors import DataError, LayerError

WINDOWS = [(1, 0.9, (0, 0, 7, 7)), (2, 0.8, (4, 2, 11, 9)), (3, 0.1, (8, 8, 15, 15)), (1, 0.0, (2, 7, 9, 14))]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An image of 16x20 random bytes in the current folder, and four windows of 8x8 in windows.txt."""
    monkeypatch.chdir(tmp_path)
    file = io.BytesIO()
    Image.fromarray(pixels()[::-1].transpose(1, 2, 0)).save(file, "PNG")
    (tmp_path / "image.png").write_bytes(file.getvalue())
    lines = [f"{label} {overlap} {' '.join(map(str, box))}" for label, overlap, box in WINDOWS]
    (tmp_path / "windows.txt").write_text("# 0 image.png 3 16 20 4\n" + "\n".join(lines) + "\n")
    return tmp_path


def pixels():
    """(3, 16, 20) bytes, blue, green, red."""
    return np.random.default_rng(0).integers(0, 256, (3, 16, 20), dtype=np.uint8)


def make(extra="", transform="crop_size: 8"):
    return data_layers.make(
        f'type: "WindowData" top: "data" top: "label" transform_param {{ {transform} }} '
        f'window_data_param {{ source: "windows.txt" {extra if "batch_size" in extra else "batch_size: 16 " + extra} }}'
    )


def cut(box):
    x1, y1, x2, y2 = box
    return pixels()[:, y1 : y2 + 1, x1 : x2 + 1]


def which(image, mean=0, scale=1):
    """The numbers of the windows that `image` (3, 8, 8) is, upright or mirrored."""
    whole = [(cut(box).astype(np.float32) - np.float32(mean)) * np.float32(scale) for _, _, box in WINDOWS]
    return [(i, m) for i, window in enumerate(whole) for m in (1, -1) if np.array_equal(window[:, :, ::m], image)]


def test_batches_hold_background_then_foreground_in_their_share():
    layer = make()
    assert layer.top_shapes == [(16, 3, 8, 8), (16,)]
    seen = set()
    for _ in range(6):
        images, labels = data_layers.batches(layer, 1)
        found = [which(image) for image in images]
        assert all(len(one) == 1 for one in found)
        numbers = [one[0][0] for one in found]
        assert all(number in (2, 3) for number in numbers[:12])
        assert all(number in (0, 1) for number in numbers[12:])
        assert labels.tolist() == [0] * 12 + [WINDOWS[number][0] for number in numbers[12:]]
        assert all(mirror == 1 for one in found for _, mirror in one)
        seen.update(numbers)
    assert seen == {0, 1, 2, 3}
    layer.close()


def test_means_and_scale_and_mirror():
    layer = make("scale: 0.5", "crop_size: 8 mirror: true mean_value: 10.5")
    images, _ = data_layers.batches(layer, 1)
    found = [which(image, 10.5, 0.5) for image in images]
    assert all(len(one) == 1 for one in found)
    assert {mirror for one in found for _, mirror in one} == {1, -1}
    layer.close()


def test_a_mean_image_counts_by_its_centre(folder):
    mean = np.random.default_rng(1).uniform(0, 255, (3, 12, 12)).astype(np.float32)
    proto.write_blob("mean.binaryproto", mean[None])
    layer = make(transform='crop_size: 8 mean_file: "mean.binaryproto"')
    images, _ = data_layers.batches(layer, 1)
    assert all(len(which(image, mean[:, 2:10, 2:10])) == 1 for image in images)
    layer.close()


def test_beyond_the_image_tops_are_zero():
    layer = make("context_pad: 3 fg_fraction: 1 fg_threshold: 0.85", "crop_size: 16 mean_value: 300")
    images, labels = data_layers.batches(layer, 1)
    assert (labels == 1).all()
    assert (images[:, :, 0] == 0).all()
    assert (images[:, :, 8:, 8:] < 0).all()
    layer.close()


@pytest.mark.parametrize("extra", ["", "cache_images: true"])
def test_batches_follow_from_seed_and_cursor(extra, folder):
    layer = make(extra)
    expected = data_layers.batches(layer, 4)
    layer.cursor = 2
    assert np.array_equal(data_layers.batches(layer, 2)[0], expected[0][32:])
    other = make(extra)
    other.seed = layer.seed + 1
    assert not np.array_equal(data_layers.batches(other, 4)[0], expected[0])
    layer.close()
    other.close()


def test_cached_images_need_their_files_no_more(folder):
    layer, other = make("cache_images: true"), make()
    expected = data_layers.batches(other, 2)
    other.close()
    (folder / "image.png").unlink()
    for tops, values in zip(data_layers.batches(layer, 2), expected, strict=True):
        assert np.array_equal(tops, values)
    layer.close()


def test_a_file_that_is_gone_is_an_error_of_the_batch(folder):
    layer = make()
    (folder / "image.png").unlink()
    with pytest.raises(DataError, match=r"image\.png: cannot read the image"):
        layer.next_batch(data_layers.CPU)
    layer.close()
    with pytest.raises(LayerError, match="only between setup and close"):
        layer.next_batch(data_layers.CPU)


def test_what_caffe_logs(caplog):
    caplog.set_level(logging.INFO, "sdcaffe")
    make("context_pad: 1").close()
    assert [record.message for record in caplog.records] == [
        "Number of images: 1",
        "class 0 has 2 samples",
        "class 1 has 1 samples",
        "class 2 has 1 samples",
        "Amount of context padding: 1",
        "Crop mode: warp",
        "output data size: 16,3,8,8",
    ]


def test_transform_scale_is_passed_over_with_a_warning(caplog):
    make(transform="crop_size: 8 scale: 2").close()
    assert "WindowData does not use transform_param.scale; set window_data_param.scale" in caplog.text


@pytest.mark.parametrize(
    ("extra", "transform", "message"),
    [
        ("", "", "transform_param needs a crop_size"),
        ("context_pad: 4", "crop_size: 8", "context_pad 4 leaves nothing of crop_size 8"),
        ("fg_fraction: 1.5", "crop_size: 8", "fg_fraction is 1.5; it must be 0 to 1"),
        ('crop_mode: "round"', "crop_size: 8", 'crop_mode is "round"; it is warp or square'),
        ("fg_threshold: 0.95", "crop_size: 8", "windows.txt has no foreground windows, and a batch needs 4"),
        ("bg_threshold: 0.0", "crop_size: 8", "windows.txt has no background windows, and a batch needs 12"),
        ("batch_size: 0", "crop_size: 8", "batch_size is 0"),
        ("", "crop_size: 8 mean_value: 1 mean_value: 2", "2 mean_values; give 1 or 3"),
    ],
)
def test_parameters_without_meaning(extra, transform, message):
    with pytest.raises(LayerError, match=message):
        make(extra, transform)


def test_a_mean_image_that_is_too_small():
    proto.write_blob("mean.binaryproto", np.zeros((1, 3, 6, 6), np.float32))
    with pytest.raises(LayerError, match=r"mean file mean\.binaryproto is too small for crop_size 8"):
        make(transform='crop_size: 8 mean_file: "mean.binaryproto"')
