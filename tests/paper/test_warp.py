"""Distort's warps against torchvision's, scipy's thin-plate splines, and by the places that ramps of pixels show."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.interpolate import RBFInterpolator
from scipy.stats import kstest
from test_distort import make
from torch.nn import functional as F
from torchvision.transforms import functional as vision

from sdcaffe import proto
from sdcaffe.errors import LayerError
from sdcaffe.paper.layers import warp

SIZES = [(32, 32), (9, 14)]


def sampled(images: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """Images warped by one matrix each, as large as before."""
    n, _, h, w = images.shape
    y, x = torch.meshgrid(*((2 * torch.arange(k) + 1) / k - 1 for k in (h, w)), indexing="ij")
    places = warp.transformed(matrix, x.flatten(), y.flatten()).reshape(n, h, w, 2)
    return F.grid_sample(images, places.to(images.dtype), align_corners=False)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("angle", "move", "scale", "shear"),
    [(30, (0, 0), 1, 0), (0, (3, -2), 1, 0), (0, (0, 0), 0.7, 0), (0, (0, 0), 1, 20), (-75, (-1, 4), 1.3, -35)],
)
def test_an_affine_warp_is_torchvision_s(size, angle, move, scale, shear):
    h, w = size
    images = torch.rand(1, 3, h, w)
    matrix = warp.affine(
        torch.tensor([angle]).deg2rad(),
        torch.tensor([[2 * move[0] / w, 2 * move[1] / h]]),
        torch.tensor([float(scale)]),
        torch.tensor([shear]).deg2rad(),
        size,
    )
    expected = vision.affine(
        images, angle, list(move), scale, [shear, 0.0], interpolation=vision.InterpolationMode.BILINEAR
    )
    torch.testing.assert_close(sampled(images, matrix), expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("displacement", [0.3, 0.5])
def test_a_perspective_warp_is_torchvision_s(size, displacement):
    h, w = size
    random = np.random.RandomState(0)
    corners = np.array(warp.CORNERS) * (1 - displacement * random.rand(5, 4, 2))
    matrix = warp.perspective(torch.tensor(corners))
    images = torch.rand(1, 3, h, w)
    pixels = np.array([w, h]) / 2
    start = ((np.array(warp.CORNERS) + 1) * pixels).tolist()
    for one, moved in zip(matrix.float(), corners, strict=True):
        end = ((moved + 1) * pixels).tolist()
        expected = vision.perspective(images, start, end, interpolation=vision.InterpolationMode.BILINEAR)
        torch.testing.assert_close(sampled(images, one.unsqueeze(0)), expected, atol=2e-4, rtol=0)


def test_a_perspective_takes_the_moved_corners_back_to_the_image_s():
    """Any corners within the limit: no place inside the figure lies behind the viewer."""
    extremes = np.array(list(itertools.product([0, 0.66], repeat=8))).reshape(-1, 4, 2)
    corners = torch.tensor(np.array(warp.CORNERS) * (1 - extremes))
    matrix = warp.perspective(corners)
    back = warp.transformed(matrix, corners[:, :, 0], corners[:, :, 1])
    np.testing.assert_allclose(back.numpy(), np.broadcast_to(warp.CORNERS, back.shape), atol=1e-9)
    middle = corners.mean(1)
    depth = (matrix[:, 2] * torch.cat([middle, torch.ones(len(middle), 1)], 1)).sum(1)
    assert (depth > 0).all()


def test_what_lies_behind_the_viewer_is_outside():
    matrix = torch.tensor([[[1.0, 0, 0], [0, 1, 0], [2, 0, 1]]])
    places = warp.transformed(matrix, torch.tensor([-1.0, -0.5, 0.0]), torch.zeros(3))
    assert (places[0, :2].abs() > 3).all()
    assert torch.equal(places[0, 2], torch.zeros(2))


@pytest.mark.parametrize("n", [2, 3, 5])
def test_the_spline_is_scipy_s(n):
    random = np.random.RandomState(n)
    points, places = warp.control_points(n), random.uniform(-1.2, 1.2, (40, 2))
    moves = random.randn(n * n, 2)
    expected = RBFInterpolator(points, moves, kernel="thin_plate_spline", degree=1)(places)
    np.testing.assert_allclose(warp.spline_basis(points, places) @ moves, expected, atol=1e-10)


@pytest.mark.parametrize("n", [2, 4])
def test_the_spline_moves_control_points_exactly_and_planes_as_planes(n):
    points = warp.control_points(n)
    np.testing.assert_allclose(warp.spline_basis(points, points), np.eye(n * n), atol=1e-11)
    places = np.random.RandomState(0).uniform(-1, 1, (30, 2))
    plane = np.array([[0.3, -0.2], [0.1, 0.5]])
    np.testing.assert_allclose(warp.spline_basis(points, places) @ (points @ plane), places @ plane, atol=1e-11)


# ---- the layer ----


def ramps(n: int, size: int) -> torch.Tensor:
    """n images whose three channels are x, y (from the middle, in pixels) and 1; reads back where a pixel came from."""
    line = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x, y, torch.ones_like(x)]).expand(n, 3, size, size)


def places_shown(top: torch.Tensor) -> np.ndarray:
    """Of each pixel of each image: x, y in pixels from the middle of the original; nan where it shows the border."""
    values = top.permute(0, 2, 3, 1).double().numpy()
    inside = values[..., 2:] > 1 - 1e-5
    return np.where(inside, values[..., :2], np.nan)


def fitted(shown: np.ndarray, size: int) -> np.ndarray:
    """The matrices (n, 2, 3) that take a pixel of the top, from the middle, to the place it shows."""
    line = np.arange(size) - (size - 1) / 2
    y, x = np.meshgrid(line, line, indexing="ij")
    pixels = np.stack([x, y, np.ones_like(x)], 2).reshape(-1, 3)
    matrices = []
    for one in shown.reshape(len(shown), -1, 2):
        seen = ~np.isnan(one[:, 0])
        solution, *_ = np.linalg.lstsq(pixels[seen], one[seen], rcond=None)
        np.testing.assert_allclose(pixels[seen] @ solution, one[seen], atol=1e-4)  # affine, and nothing else
        matrices.append(solution.T)
    return np.stack(matrices)


def measured(param: str, n: int = 2000, size: int = 16) -> dict[str, np.ndarray]:
    torch.manual_seed(0)
    top = make(param, (n, 3, size, size))(ramps(n, size))
    matrix = fitted(places_shown(top), size)
    forward = np.linalg.inv(matrix[:, :, :2])  # from the image to the top
    angle = np.arctan2(forward[:, 1, 0], forward[:, 0, 0])
    scale = np.hypot(forward[:, 1, 0], forward[:, 0, 0])
    cos, sin = np.cos(angle), np.sin(angle)
    shear = np.arctan(-(cos * forward[:, 0, 1] + sin * forward[:, 1, 1]) / scale)
    moved = -(forward @ matrix[:, :, 2:])[:, :, 0]
    return {
        "rotation": np.degrees(angle),
        "scaling": scale - 1,
        "shear": np.degrees(shear),
        "across": moved[:, 0] / size,
        "down": moved[:, 1] / size,
    }


@pytest.mark.parametrize(
    ("param", "limits"),
    [
        ("rotation: 30", {"rotation": 30}),
        ("translation: 0.2", {"across": 0.2, "down": 0.2}),
        ("scaling: 0.4", {"scaling": 0.4}),
        ("shear: 25", {"shear": 25}),
        (
            "rotation: 20 translation: 0.1 scaling: 0.3 shear: 10",
            {"rotation": 20, "across": 0.1, "down": 0.1, "scaling": 0.3, "shear": 10},
        ),
    ],
)
def test_affine_draws_are_uniform_within_their_limits_one_an_image(param, limits):
    found = measured(f"affine {{ {param} }}")
    for name, values in found.items():
        limit = limits.get(name, 0)
        assert np.abs(values).max() <= limit + 1e-4
        if limit:
            assert kstest(values, "uniform", (-limit, 2 * limit)).pvalue > 0.001
    drawn = np.stack([values for name, values in found.items() if name in limits])
    if len(drawn) > 1:
        assert np.abs(np.corrcoef(drawn) - np.eye(len(drawn))).max() < 0.1


def test_perspective_moves_each_corner_inwards():
    """Seen from outside: the ramp's corners, where each image's first and last pixels come to lie."""
    n, size, limit = 400, 32, 0.4
    torch.manual_seed(1)
    shown = places_shown(make(f"perspective {{ displacement: {limit} }}", (n, 3, size, size))(ramps(n, size)))
    line = np.arange(size) - (size - 1) / 2
    x, y = np.meshgrid(line, line)
    furthest = []
    for one in shown:
        seen = ~np.isnan(one[..., 0])
        # eight numbers of a homography from many pairs: x' (g x + h y + 1) = a x + b y + c
        p = np.stack([x[seen], y[seen], np.ones(seen.sum())], 1)
        q, zero = one[seen], np.zeros((seen.sum(), 3))
        system = np.concatenate(
            [
                np.concatenate([p, zero, -p[:, :2] * q[:, :1]], 1),
                np.concatenate([zero, p, -p[:, :2] * q[:, 1:]], 1),
            ]
        )
        solution, *_ = np.linalg.lstsq(system, np.concatenate([q[:, 0], q[:, 1]]), rcond=None)
        homography = np.append(solution, 1).reshape(3, 3)
        corners = np.linalg.solve(homography, np.c_[np.array(warp.CORNERS) * size / 2, np.ones(4)].T).T
        furthest.append(corners[:, :2] / corners[:, 2:] / (np.array(warp.CORNERS) * size / 2))
    inwards = 1 - np.stack(furthest).ravel()
    assert inwards.min() > -1e-3
    assert inwards.max() < limit + 1e-3
    assert kstest(inwards, "uniform", (0, limit)).pvalue > 0.001


@pytest.mark.parametrize("mirror", ["", "mirror: true"])
def test_the_spline_shows_what_its_control_points_moved_to(mirror):
    """Of 3 x 3 points on a window of odd size the middle one is a pixel's middle."""
    n, size, limit = 300, 24, 0.05
    torch.manual_seed(2)
    layer = make(f"crop_size: 11 {mirror} thin_plate_spline {{ displacement: {limit} points: 3 }}", (n, 3, size, size))
    shown = places_shown(layer(ramps(n, size)))
    assert not np.isnan(shown[:, 3:8, 3:8]).any()
    middle = shown[:, 5, 5]
    torch.manual_seed(2)
    plain = places_shown(make(f"crop_size: 11 {mirror}", (n, 3, size, size))(ramps(n, size)))
    moved = (middle - plain[:, 5, 5]) / 11
    assert np.abs(moved).max() <= limit + 1e-5
    assert kstest(moved.ravel(), "uniform", (-limit, 2 * limit)).pvalue > 0.001
    assert np.nanmax(np.abs(np.diff(shown - plain, n=2, axis=1))) > 1e-2  # bent, not only moved


@pytest.mark.parametrize(
    "tiny",
    ["affine { scaling: 1e-7 }", "perspective { displacement: 1e-7 }", "thin_plate_spline { displacement: 1e-8 }"],
)
@pytest.mark.parametrize("stage", ["RAW", "NORMALIZED"])
def test_a_warp_of_next_to_nothing_shows_the_windows_that_none_shows(tiny, stage):
    """The same crops, mirrors and borders from the same draws, in every top."""
    for param, shape in (
        (f"pad: 3 mirror: true mean_value: 100 std_value: 50 pad_stage: {stage}", (6, 3, 12, 9)),
        (f"crop_size: 5 mirror: true pad_stage: {stage}", (4, 1, 7, 8)),
    ):
        images = torch.rand(shape) * 255
        torch.manual_seed(3)
        plain = make(param, shape, tops=2)(images)
        torch.manual_seed(3)
        warped = make(f"{param} {tiny}", shape, tops=2)(images)
        for one, other in zip(plain, warped, strict=True):
            torch.testing.assert_close(one, other, atol=2e-3 if "mean" not in param else 1e-4, rtol=0)


def test_settings_of_zero_are_no_settings():
    off = "affine { rotation: 0 } perspective { displacement: 0 } thin_plate_spline { points: 3 } erasing { }"
    images = torch.rand(4, 3, 8, 8)
    torch.manual_seed(0)
    plain = make("pad: 1 mirror: true", (4, 3, 8, 8))(images)
    torch.manual_seed(0)
    assert torch.equal(make(f"pad: 1 mirror: true {off}", (4, 3, 8, 8))(images), plain)
    assert torch.get_rng_state().equal(_state_after_one_draw())


def _state_after_one_draw() -> torch.Tensor:
    torch.manual_seed(0)
    torch.randint(3 * 3 * 2, (4, 1))
    return torch.get_rng_state()


ALL = (
    "pad: 2 mirror: true affine { rotation: 30 translation: 0.1 scaling: 0.2 shear: 10 } "
    "perspective { displacement: 0.3 } thin_plate_spline { displacement: 0.05 } erasing { probability: 0.5 }"
)


@pytest.mark.parametrize(("stage", "border"), [("RAW", -2.0), ("NORMALIZED", 0.0)])
def test_the_border_is_as_pad_stage_says(stage, border):
    torch.manual_seed(0)
    param = f"affine {{ translation: 0.5 }} mean_value: 100 std_value: 50 pad_stage: {stage}"
    top = make(param, (50, 1, 8, 8))(torch.full((50, 1, 8, 8), 200.0))
    assert top.min().item() == pytest.approx(border, abs=1e-5)
    assert top.max().item() == pytest.approx(2, abs=1e-5)


def test_tops_are_drawn_independently_and_from_the_default_generator():
    images = ramps(500, 8).float()
    layer = make("affine { rotation: 30 }", (500, 3, 8, 8), tops=2)
    torch.manual_seed(5)
    a, b = layer(images)
    torch.manual_seed(5)
    again = layer(images)
    assert torch.equal(a, again[0])
    assert torch.equal(b, again[1])
    angles = [np.arcsin(np.clip(fitted(places_shown(t), 8)[:, 1, 0], -1, 1)) for t in (a, b)]
    assert abs(np.corrcoef(angles)[0, 1]) < 0.15


def test_bytes_give_what_floats_give():
    pixels = torch.randint(0, 256, (4, 3, 6, 6), dtype=torch.uint8)
    layer = make(f"{ALL} mean_value: 100 std_value: 50", (4, 3, 6, 6))
    torch.manual_seed(2)
    from_bytes = layer(pixels)
    torch.manual_seed(2)
    assert torch.equal(from_bytes, layer(pixels.float()))


@pytest.mark.parametrize("stage", ["RAW", "NORMALIZED"])
def test_tops_are_channels_last_and_as_large_as_setup_said(stage):
    layer = make(f"{ALL} mean_value: 100 crop_size: 7 pad_stage: {stage}", (5, 3, 8, 10), tops=2)
    assert layer.top_shapes == [(5, 3, 7, 7)] * 2
    for top in layer(torch.rand(5, 3, 8, 10)):
        assert tuple(top.shape) == (5, 3, 7, 7)
        assert top.is_contiguous(memory_format=torch.channels_last)
        assert torch.isfinite(top).all()


def test_no_step_needs_a_value_from_the_device():
    layer = make(f"{ALL} mean_value: 1", (4, 3, 8, 8), tops=2).to("meta")  # meta tensors have no values to read
    tops = layer(torch.empty(4, 3, 8, 8, device="meta"))
    assert [tuple(t.shape) for t in tops] == [(4, 3, 8, 8)] * 2


def test_outside_training_nothing_is_warped_or_drawn():
    images = torch.rand(3, 3, 8, 8)
    state = torch.get_rng_state()
    assert torch.equal(make(ALL, (3, 3, 8, 8), proto.TEST)(images), images)
    assert torch.equal(torch.get_rng_state(), state)


def test_gradients_reach_the_pixels():
    layer = make(f"{ALL} std_value: 2", (2, 1, 5, 5), tops=2)

    def distorted(images):
        torch.manual_seed(5)
        return layer(images)

    assert torch.autograd.gradcheck(distorted, torch.rand(2, 1, 5, 5, dtype=torch.float64, requires_grad=True))


def test_setup_again_takes_images_of_another_size():
    layer = make(ALL, (2, 3, 6, 6))
    assert layer.setup([(3, 3, 9, 7)]) == [(3, 3, 9, 7)]
    assert tuple(layer(torch.rand(3, 3, 9, 7)).shape) == (3, 3, 9, 7)


@pytest.mark.parametrize(
    ("param", "words"),
    [
        ("affine { rotation: -1 }", ["rotation of affine is -1", "at most 180"]),
        ("affine { rotation: 181 }", ["rotation of affine is 181"]),
        ("affine { translation: 2 }", ["translation of affine is 2", "at most 1"]),
        ("affine { scaling: 1 }", ["scaling of affine is 1", "less than 1"]),
        ("affine { shear: 90 }", ["shear of affine is 90", "less than 90"]),
        ("affine { rotation: nan }", ["rotation of affine is nan"]),
        ("perspective { displacement: 0.7 }", ["displacement of perspective is 0.7", "less than 0.667"]),
        ("thin_plate_spline { displacement: 0.1 points: 1 }", ["points of thin_plate_spline is 1", "at least 2"]),
        ("thin_plate_spline { displacement: 0.1 points: 11 }", ["points of thin_plate_spline is 11", "at most 10"]),
        ("thin_plate_spline { displacement: inf }", ["displacement of thin_plate_spline is inf"]),
    ],
)
def test_mistakes_name_the_layer_and_the_values(param, words):
    with pytest.raises(LayerError) as caught:
        make(param, (2, 3, 4, 4))
    for word in ['layer "phi" (Distort)', *words]:
        assert word in str(caught.value)
