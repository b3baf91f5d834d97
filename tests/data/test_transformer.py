"""The transformer against a float32 loop over pixels that follows the definition of transform_param."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sdcaffe import proto
from sdcaffe.data.transformer import Transformer, _gathered
from sdcaffe.errors import DataError, LayerError, SdcaffeError


def make(body="", phase=proto.TRAIN):
    param = proto.TransformationParameter()
    proto.text.parse(body, param, "transform.prototxt")
    return Transformer(param, phase)


def mean_file(path, mean):
    proto.write_blob(str(path), mean.astype(np.float32)[None])
    return f'mean_file: "{path}"'


def by_pixel(images, windows, crop, scale, mean):
    """(pixel - mean) * scale, in float32, one pixel at a time; `mean` (C, H, W) is taken before the crop."""
    n, channels, height, width = images.shape
    h, w = crop or height, crop or width
    out = np.empty((n, channels, h, w), np.float32)
    for i in range(n):
        mirrored = windows.mirror is not None and windows.mirror[i]
        for y in range(h):
            for x in range(w):
                row, column = windows.top[i] + y, windows.left[i] + x
                pixel = np.float32(images[i, :, row, column]) - mean[:, row, column]
                out[i, :, y, w - 1 - x if mirrored else x] = pixel * np.float32(scale)
    return out


def batch(n, channels, height, width, kind=np.uint8, seed=0):
    random = np.random.default_rng([seed, n, channels, height, width])
    if kind == np.uint8:
        return random.integers(0, 256, (n, channels, height, width), dtype=np.uint8)
    return random.standard_normal((n, channels, height, width)).astype(kind)


def windows_of(transformer, n, height, width, seed=0, k=0):
    return transformer.windows(transformer.draws(seed, k, n), height, width)


def run(transformer, images, seed=3, k=0):
    n, _, height, width = images.shape
    windows = windows_of(transformer, n, height, width, seed, k)
    return transformer.apply(torch.from_numpy(images), windows, torch.arange(n)), windows


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    channels=st.sampled_from([1, 3, 4]),
    height=st.integers(3, 9),
    width=st.integers(3, 9),
    crop=st.integers(0, 3),
    mirror=st.booleans(),
    scale=st.sampled_from([1.0, 0.00390625, 0.017]),
    mean=st.sampled_from(["none", "one", "each"]),
    phase=st.sampled_from([proto.TRAIN, proto.TEST]),
    kind=st.sampled_from([np.uint8, np.float32]),
)
def test_every_pixel_is_minus_mean_times_scale(channels, height, width, crop, mirror, scale, mean, phase, kind):
    values = {"none": [], "one": [104.25], "each": [104.25, 17.5, 0.1, 3.0][:channels]}[mean]
    body = f"crop_size: {crop} mirror: {str(mirror).lower()} scale: {scale} "
    transformer = make(body + " ".join(f"mean_value: {v}" for v in values), phase)
    images = batch(5, channels, height, width, kind)
    top, windows = run(transformer, images)
    constant = np.array(values or [0.0], np.float32).repeat(1 if len(values) == channels else channels)
    expected = by_pixel(images, windows, crop, scale, np.broadcast_to(constant[:, None, None], images.shape[1:]))
    assert np.array_equal(top.numpy(), expected)
    assert top.dtype == torch.float32
    assert top.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("phase", [proto.TRAIN, proto.TEST])
@pytest.mark.parametrize("mirror", ["false", "true"])
def test_a_mean_image_is_subtracted_where_the_pixel_stood_before_the_crop(tmp_path, phase, mirror):
    mean = np.random.default_rng(1).uniform(0, 255, (3, 8, 10)).astype(np.float32)
    body = mean_file(tmp_path / "mean.binaryproto", mean)
    images = batch(6, 3, 8, 10)
    top, windows = run(make(f"{body} crop_size: 5 mirror: {mirror} scale: 0.0078125", phase), images)
    assert np.array_equal(top.numpy(), by_pixel(images, windows, 5, 0.0078125, mean))


def test_picked_images_are_those_of_the_whole_set():
    images = batch(9, 3, 6, 6)
    pick = np.array([8, 0, 0, 5])
    for phase in (proto.TRAIN, proto.TEST):
        transformer = make("crop_size: 4 mirror: true" if phase == proto.TRAIN else "crop_size: 4", phase)
        windows = windows_of(transformer, 4, 6, 6)
        whole = transformer.apply(torch.from_numpy(images), windows, torch.from_numpy(pick))
        assert torch.equal(whole, transformer.apply(torch.from_numpy(images[pick]), windows, torch.arange(4)))


def test_what_a_gpu_gathers_is_what_is_cut_image_by_image():
    """The gather runs on the GPU alone; here it runs on the CPU, against a slice of each image."""
    images = batch(9, 3, 7, 8)
    pick = np.array([8, 0, 0, 5, 3, 2])
    for body in ("crop_size: 4 mirror: true", "crop_size: 4", "mirror: true"):
        windows = windows_of(make(body), 6, 7, 8)
        height, width = (4, 4) if "crop" in body else (7, 8)
        pixels = torch.from_numpy(images).permute(0, 2, 3, 1)
        found = _gathered(pixels, windows, torch.from_numpy(pick), (6, height, width, 3)).numpy()
        for i, index in enumerate(pick):
            rows, columns = (slice(o[i], o[i] + size) for o, size in ((windows.top, height), (windows.left, width)))
            part = images[index][:, rows, columns]
            side = -1 if windows.mirror is not None and windows.mirror[i] else 1
            assert np.array_equal(found[i].transpose(2, 0, 1), part[:, :, ::side])


def test_the_test_phase_crops_the_centre_rounding_down():
    windows = windows_of(make("crop_size: 4", proto.TEST), 2, 9, 6)
    assert windows.top.tolist() == [2, 2]
    assert windows.left.tolist() == [1, 1]
    assert windows.mirror is None


def test_training_draws_every_place_and_both_sides_alike():
    """10,000 draws of 3 x 2 places and mirror or not; each count within 5 deviations of its expectation."""
    windows = windows_of(make("crop_size: 4 mirror: true"), 10_000, 6, 5)
    places = windows.top * 4 + windows.left * 2 + windows.mirror
    values, counts = np.unique(places, return_counts=True)
    assert len(values) == 12
    assert np.abs(counts - 10_000 / 12).max() < 5 * (10_000 / 12) ** 0.5


def test_the_test_phase_mirrors_too_as_in_caffe():
    assert windows_of(make("mirror: true", proto.TEST), 64, 4, 4).mirror.any()


def test_draws_are_a_function_of_seed_and_batch():
    transformer = make("crop_size: 4 mirror: true")

    def draws(seed, k):
        windows = windows_of(transformer, 16, 40, 40, seed, k)
        return tuple(windows.top), tuple(windows.left), tuple(windows.mirror)

    assert draws(1, 5) == draws(1, 5)
    assert len({draws(1, 5), draws(1, 6), draws(2, 5)}) == 3


def test_output_size_is_the_crop_or_the_image():
    assert make("crop_size: 4").output_size((3, 9, 8), "image 0", "db") == (3, 4, 4)
    assert make().output_size((1, 9, 8), "image 0", "db") == (1, 9, 8)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('mean_file: "m" mean_value: 3', "both mean_file and mean_value"),
        ("force_color: true force_gray: true", "both force_color and force_gray"),
    ],
)
def test_settings_that_exclude_each_other(body, message):
    with pytest.raises(LayerError, match=message):
        make(body)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("crop_size: 9", r"db: image 7 is 3 x 8 x 10, smaller than crop_size 9"),
        ("mean_value: 1 mean_value: 2", "2 mean_values for image 7 of 3 channels; give one, or one a channel"),
    ],
)
def test_an_image_that_does_not_fit(body, message):
    with pytest.raises(DataError, match=message):
        make(body).output_size((3, 8, 10), "image 7", "db")


def test_a_mean_image_of_another_size(tmp_path):
    transformer = make(mean_file(tmp_path / "m", np.zeros((3, 8, 9))))
    with pytest.raises(DataError, match=r"image 7 is 3 x 8 x 10 but the mean file .* is 3 x 8 x 9"):
        transformer.output_size((3, 8, 10), "image 7", "db")


def test_a_mean_file_that_is_missing(tmp_path):
    with pytest.raises(SdcaffeError, match=r"none\.binaryproto"):
        make(f'mean_file: "{tmp_path / "none.binaryproto"}"')


def test_a_mean_file_that_is_no_image(tmp_path):
    proto.write_blob(str(tmp_path / "m"), np.zeros((2, 5), np.float32))
    with pytest.raises(DataError, match="a mean image has shape 1 x C x H x W, not 2 x 5"):
        make(f'mean_file: "{tmp_path / "m"}"')
