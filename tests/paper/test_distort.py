"""Distort against float64 numpy: which crops it makes, how likely, and how it pads and normalises."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from sdcaffe import proto
from sdcaffe.errors import LayerError
from sdcaffe.layers import discover
from sdcaffe.layers.base import Layer, layer_class
from sdcaffe.proto import text

discover()


def make(param: str, shape: tuple[int, ...], phase: int = proto.TRAIN, tops: int = 1) -> Layer:
    names = " ".join(f'top: "t{i}"' for i in range(tops))
    message = proto.LayerParameter()
    text.parse(f'name: "phi" type: "Distort" {names} distort_param {{ {param} }}', message, "test")
    layer = layer_class("Distort")(message, phase)
    layer.top_shapes = layer.setup([shape])
    return layer


def numbered(n: int, c: int, h: int, w: int) -> torch.Tensor:
    """Images in which every pixel value occurs once, and never 0."""
    return torch.arange(1, n * c * h * w + 1, dtype=torch.float32).reshape(n, c, h, w)


def candidates(image: np.ndarray, pad: int, crop: tuple[int, int], mirror: bool) -> list[np.ndarray]:
    """Every window that phi may make of one padded image (C, H, W), in order: top, left, mirrored."""
    padded = np.pad(image, ((0, 0), (pad, pad), (pad, pad)))
    rows, columns = padded.shape[1] - crop[0] + 1, padded.shape[2] - crop[1] + 1
    windows = []
    for top, left in itertools.product(range(rows), range(columns)):
        window = padded[:, top : top + crop[0], left : left + crop[1]]
        windows += [window, window[:, :, ::-1]] if mirror else [window]
    return windows


def drawn(images: torch.Tensor, top: torch.Tensor, pad: int, mirror: bool) -> np.ndarray:
    """Which candidate each image of a top is; fails where one is none of them."""
    choices = []
    for image, made in zip(images.numpy(), top.numpy(), strict=True):
        windows = candidates(image, pad, made.shape[1:], mirror)
        matches = [i for i, window in enumerate(windows) if np.array_equal(window, made)]
        assert len(matches) == 1
        choices += matches
    return np.array(choices)


@pytest.mark.parametrize(
    ("param", "shape", "crop"),
    [
        ("pad: 4 crop_size: 32 mirror: true", (6, 3, 32, 32), (32, 32)),
        ("pad: 2 mirror: true", (5, 3, 6, 9), (6, 9)),
        ("crop_size: 5", (5, 1, 7, 8), (5, 5)),
        ("pad: 1 crop_size: 8 mirror: true", (4, 2, 7, 7), (8, 8)),
        ("mirror: true", (8, 3, 4, 4), (4, 4)),
    ],
)
def test_every_top_holds_windows_of_the_padded_images(param, shape, crop):
    torch.manual_seed(0)
    layer = make(param, shape, tops=2)
    images = numbered(*shape)
    tops = layer(images)
    assert layer.top_shapes == [(*shape[:2], *crop)] * 2
    for top in tops:
        assert tuple(top.shape) == (*shape[:2], *crop)
        drawn(images, top, layer.param.pad, layer.param.mirror)


def test_every_position_and_mirror_is_equally_likely():
    torch.manual_seed(3)
    images = numbered(1, 1, 3, 3).expand(9000, 1, 3, 3)
    top = make("pad: 1 crop_size: 3 mirror: true", (9000, 1, 3, 3))(images)
    windows = np.stack([w.ravel() for w in candidates(images[0].numpy(), 1, (3, 3), True)])
    hits = (top.numpy().reshape(9000, 1, 9) == windows).all(2)
    assert (hits.sum(1) == 1).all()
    counts = hits.sum(0)
    assert len(counts) == 18
    chi_squared = ((counts - 500) ** 2 / 500).sum()
    assert chi_squared < 40.8  # the 0.999 quantile of chi squared with 17 degrees of freedom


def test_tops_are_drawn_independently():
    torch.manual_seed(4)
    images = numbered(1, 1, 3, 3).expand(4000, 1, 3, 3)
    a, b = make("pad: 1 crop_size: 3 mirror: true", (4000, 1, 3, 3), tops=2)(images)
    same = (a == b).flatten(1).all(1).double().mean().item()
    assert abs(same - 1 / 18) < 4 * (1 / 18 * 17 / 18 / 4000) ** 0.5


def test_draws_come_from_the_default_generator():
    images = numbered(16, 3, 8, 8)
    layer = make("pad: 2 crop_size: 8 mirror: true", (16, 3, 8, 8))
    torch.manual_seed(7)
    first, second = layer(images), layer(images)
    torch.manual_seed(7)
    assert torch.equal(layer(images), first)
    assert not torch.equal(first, second)


MEANS = (np.array([120.0, 110.5, 101.25]), np.array([60.0, 50.0, 70.5]))
NORMALISED = " ".join(
    [*(f"mean_value: {m}" for m in MEANS[0]), *(f"std_value: {s}" for s in MEANS[1]), "pad: 3 mirror: true"]
)


@pytest.mark.parametrize("stage", ["RAW", "NORMALIZED"])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_border_is_black_or_the_mean(stage, memory_format):
    torch.manual_seed(1)
    images = torch.randint(1, 256, (7, 3, 8, 10)).float()
    layer = make(f"{NORMALISED} pad_stage: {stage}", (7, 3, 8, 10))
    top = layer(images.contiguous(memory_format=memory_format)).double().numpy()
    mean, std = (m[:, None, None] for m in MEANS)
    for image, made in zip(images.double().numpy(), top, strict=True):
        if stage == "RAW":
            windows = [(w - mean) / std for w in candidates(image, 3, (8, 10), True)]
        else:
            windows = candidates((image - mean) / std, 3, (8, 10), True)
        assert min(np.abs(w - made).max() for w in windows) < 1e-6


def test_raw_is_the_default():
    images = torch.full((1, 1, 2, 2), 5.0)
    layer = make("pad: 2 crop_size: 6 mean_value: 10 std_value: 2", (1, 1, 2, 2))
    assert layer(images)[0, 0, 0, 0].item() == pytest.approx(-5)


def test_one_value_serves_all_channels_and_mean_or_std_may_stand_alone():
    images = numbered(2, 3, 4, 4)
    for param, mean, std in (
        ("mean_value: 3 std_value: 4", 3, 4),
        ("mean_value: 3", 3, 1),
        ("std_value: 4", 0, 4),
        ("", 0, 1),
    ):
        top = make(param, (2, 3, 4, 4))(images)
        np.testing.assert_allclose(top.numpy(), (images.numpy().astype(np.float64) - mean) / std, rtol=1e-6)


def test_bytes_give_what_floats_give():
    pixels = torch.randint(0, 256, (4, 3, 6, 6), dtype=torch.uint8)
    for phase in (proto.TRAIN, proto.TEST):
        layer = make(NORMALISED, (4, 3, 6, 6), phase)
        torch.manual_seed(2)
        from_bytes = layer(pixels)
        torch.manual_seed(2)
        assert from_bytes.dtype == torch.float32
        assert torch.equal(from_bytes, layer(pixels.float()))


@pytest.mark.parametrize(("crop", "top", "left"), [(0, 0, 0), (8, 0, 1), (5, 1, 2), (4, 2, 3)])
def test_outside_training_all_tops_are_the_centre_normalised(crop, top, left):
    images = torch.rand(3, 3, 8, 10) * 255
    layer = make(f"{NORMALISED} crop_size: {crop}", (3, 3, 8, 10), proto.TEST, tops=2)
    state = torch.get_rng_state()
    tops = layer(images)
    mean, std = (m[:, None, None] for m in MEANS)
    h, w = (crop, crop) if crop else (8, 10)
    expected = (images.double().numpy()[:, :, top : top + h, left : left + w] - mean) / std
    for made in tops:
        np.testing.assert_allclose(made.numpy(), expected, atol=1e-6)
    assert torch.equal(torch.get_rng_state(), state)  # nothing is drawn


def test_outside_training_a_crop_larger_than_the_image_shows_the_border():
    images = numbered(2, 1, 4, 4)
    top = make("pad: 2 crop_size: 6", (2, 1, 4, 4), proto.TEST)(images)
    np.testing.assert_array_equal(top.numpy(), np.pad(images.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1))))


def test_tops_are_channels_last_and_the_bottom_is_left_alone():
    images = torch.rand(4, 3, 8, 8)
    before = images.clone()
    for phase in (proto.TRAIN, proto.TEST):
        for top in make("pad: 1 mirror: true mean_value: 1", (4, 3, 8, 8), phase, tops=2)(images):
            assert top.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images, before)


def test_no_step_needs_a_value_from_the_device():
    layer = make(NORMALISED, (4, 3, 8, 8), tops=2).to("meta")  # meta tensors have no values to read
    tops = layer(torch.empty(4, 3, 8, 8, device="meta"))
    assert [tuple(t.shape) for t in tops] == [(4, 3, 8, 8)] * 2


def test_gradients_reach_the_pixels():
    layer = make("pad: 1 crop_size: 4 mirror: true std_value: 2", (2, 1, 4, 4), tops=2)

    def distorted(images):
        torch.manual_seed(5)
        return layer(images)

    assert torch.autograd.gradcheck(distorted, torch.rand(2, 1, 4, 4, dtype=torch.float64, requires_grad=True))


def test_setup_again_takes_a_new_batch_size_and_image_size():
    layer = make("pad: 1 mirror: true", (2, 3, 4, 4))
    assert layer.setup([(5, 3, 6, 7)]) == [(5, 3, 6, 7)]
    assert tuple(layer(torch.rand(5, 3, 6, 7)).shape) == (5, 3, 6, 7)


@pytest.mark.parametrize(
    ("param", "shape", "words"),
    [
        ("", (2, 3), ["(N, C, H, W)", "2 3 (6)"]),
        ("pad: -1", (2, 3, 4, 4), ["pad is -1"]),
        ("pad: 1 crop_size: 7", (2, 3, 4, 5), ["crop_size 7", "4x5", "at most 6"]),
        ("mean_value: 1 mean_value: 2", (2, 3, 4, 4), ["2 of mean_value", "3 channels"]),
        ("std_value: 1 std_value: 0 std_value: 1", (2, 3, 4, 4), ["std_value must be positive", "0"]),
        ("mean_value: nan", (2, 3, 4, 4), ["mean_value must be finite"]),
    ],
)
def test_mistakes_name_the_layer_and_the_values(param, shape, words):
    with pytest.raises(LayerError) as caught:
        make(param, shape)
    for word in ['layer "phi" (Distort)', *words]:
        assert word in str(caught.value)
