"""What SSD's transforms do to pixels, against OpenCV doing the same."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from sdcaffe import proto
from sdcaffe.forks.ssd import colours, interpolation
from sdcaffe.forks.ssd.dice import Dice
from sdcaffe.forks.ssd.interpolation import Mode, PadMode
from sdcaffe.forks.ssd.noise import noised


@pytest.fixture(autouse=True)
def opencvs_own_code():
    """Intel's library rounds in its own ways; OpenCV as the forks were built with has none of it."""
    before = cv2.ipp.useIPP()
    cv2.ipp.setUseIPP(False)
    yield
    cv2.ipp.setUseIPP(before)


def picture(height, width, seed=0):
    """Smooth spots of all colours, (3, H, W)."""
    noise = np.random.RandomState(seed).randint(0, 256, (height, width, 3)).astype(np.uint8)
    spots = (cv2.GaussianBlur(noise, (0, 0), 2).astype(int) - 90) * 3
    return np.ascontiguousarray(spots.clip(0, 255).astype(np.uint8).transpose(2, 0, 1))


def rows_first(image):
    return np.ascontiguousarray(image.transpose(1, 2, 0))


def off(have, want):
    """The largest difference, and the share of values that differ."""
    want = want.transpose(2, 0, 1) if want.ndim == 3 else want[None]
    difference = np.abs(have.astype(int) - want.astype(int))
    return difference.max(), (difference > 0).mean()


SIZES = [((20, 30), (13, 17)), ((20, 30), (45, 61)), ((36, 30), (12, 15)), ((40, 24), (20, 12)), ((21, 40), (33, 10))]
FLAGS = {
    Mode.LINEAR: cv2.INTER_LINEAR,
    Mode.AREA: cv2.INTER_AREA,
    Mode.NEAREST: cv2.INTER_NEAREST,
    Mode.CUBIC: cv2.INTER_CUBIC,
    Mode.LANCZOS4: cv2.INTER_LANCZOS4,
}


@pytest.mark.parametrize(("before", "after"), SIZES)
@pytest.mark.parametrize("mode", list(Mode), ids=lambda mode: mode.name)
def test_every_interpolation_is_opencvs(mode, before, after):
    image = np.random.RandomState(1).randint(0, 256, (3, *before)).astype(np.uint8)
    want = cv2.resize(rows_first(image), after[::-1], interpolation=FLAGS[mode])
    largest, share = off(interpolation.resized(image, *after, mode), want)
    assert largest == 0 or (mode in (Mode.CUBIC, Mode.LANCZOS4) and largest == 1 and share < 2e-3)


@pytest.mark.parametrize("factor", [0.5, 1.1, 0.7, 1 / 3, 2.0, 2.7, 0.26])
def test_a_picture_scaled_by_a_factor_is_opencvs(factor):
    factor = np.float32(factor)
    for size in ((20, 30), (15, 10), (21, 33), (2, 7), (15, 22)):
        image = np.random.RandomState(1).randint(0, 256, (3, *size)).astype(np.uint8)
        want = cv2.resize(rows_first(image), None, fx=float(factor), fy=float(factor))
        assert off(interpolation.scaled(image, factor), want)[0] == 0


@pytest.mark.parametrize(
    ("mode", "flag"),
    [
        (PadMode.CONSTANT, cv2.BORDER_CONSTANT),
        (PadMode.MIRRORED, cv2.BORDER_REFLECT101),
        (PadMode.REPEAT_NEAREST, cv2.BORDER_REPLICATE),
    ],
)
def test_borders_are_opencvs(mode, flag):
    image = picture(5, 7)
    want = cv2.copyMakeBorder(rows_first(image), 2, 3, 4, 1, flag, value=(104, 117, 122.5))
    values = np.array([104, 117, 122.5], np.float32)
    assert off(interpolation.bordered(image, (2, 3), (4, 1), mode, values), want)[0] == 0


@pytest.mark.parametrize(
    ("ours", "code"),
    [
        (colours.gray, cv2.COLOR_BGR2GRAY),
        (colours.to_hsv, cv2.COLOR_BGR2HSV),
        (colours.to_ycrcb, cv2.COLOR_BGR2YCrCb),
        (colours.from_ycrcb, cv2.COLOR_YCrCb2BGR),
    ],
)
def test_colour_spaces_are_opencvs(ours, code):
    image = np.random.RandomState(2).randint(0, 256, (3, 70, 71)).astype(np.uint8)
    assert off(ours(image), cv2.cvtColor(rows_first(image), code))[0] == 0


def test_colours_come_back_from_hue_and_saturation():
    image = np.random.RandomState(2).randint(0, 256, (3, 70, 64)).astype(np.uint8)
    largest, share = off(colours.from_hsv(image), cv2.cvtColor(rows_first(image), cv2.COLOR_HSV2BGR))
    assert largest <= 1  # OpenCV rounds what is left over behind its vectors
    assert share < 0.02


def local(plane):
    clahe = cv2.createCLAHE()
    clahe.setClipLimit(4)
    return clahe.apply(plane)


def of_luminance(change):
    def changed(image):
        planes = cv2.cvtColor(image, cv2.COLOR_BGR2YCrCb)
        planes[..., 0] = change(np.ascontiguousarray(planes[..., 0]))
        return cv2.cvtColor(planes, cv2.COLOR_YCrCb2BGR)

    return changed


def jpeg(quality):
    return lambda image: cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 1)


def gray(image):
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)


CROSS = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3), (1, 1))
NOISES = [
    ("decolorize: true", gray),
    ("gauss_blur: true", lambda image: cv2.GaussianBlur(image, (7, 7), 1.5)),
    ("hist_eq: true", of_luminance(cv2.equalizeHist)),
    ("clahe: true", of_luminance(local)),
    ("jpeg: 40", jpeg(40)),
    ("erode: true", lambda image: cv2.erode(image, CROSS)),
    ("posterize: true", lambda image: np.choose(image // 64, [32, 96, 160, 224]).astype(np.uint8)),
    ("inverse: true", cv2.bitwise_not),
    ("convert_to_hsv: true", lambda image: cv2.cvtColor(image, cv2.COLOR_BGR2HSV)),
    ("decolorize: true inverse: true", lambda image: cv2.bitwise_not(gray(image))),
]


@pytest.mark.parametrize(("body", "opencv"), NOISES, ids=[body for body, _ in NOISES])
@pytest.mark.parametrize("size", [(64, 48), (50, 77)])
def test_noise_is_opencvs(body, opencv, size):
    image = picture(*size)
    param = proto.NoiseParameter()
    proto.text.parse(body, param, "noise")
    assert off(noised(image, param, Dice(1, 0, 0), "here"), opencv(rows_first(image)))[0] == 0


def test_salt_falls_on_about_its_share_of_the_pixels():
    param = proto.NoiseParameter(saltpepper=True)
    param.saltpepper_param.fraction = 0.1
    param.saltpepper_param.value.extend([0, 128, 255])
    image = np.full((3, 100, 100), 7, np.uint8)
    salted = noised(image, param, Dice(1, 0, 0), "here")
    hit = (salted != 7).any(0)
    assert hit.mean() == pytest.approx(1 - np.exp(-0.1), abs=0.01)  # 1,000 places of 10,000, drawn with repetition
    assert (salted[:, hit] == np.array([[0], [128], [255]])).all()
    assert (image == 7).all()
