"""caffe.io: messages, images and the transformer, against numpy and SciPy."""

from __future__ import annotations

import sys
from pathlib import Path

import lmdb
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from sdcaffe import pycaffe as caffe
from sdcaffe.errors import SdcaffeError
from sdcaffe.pycaffe.proto import caffe_pb2

io = caffe.io
FILES = Path(__file__).parents[1] / "goldens" / "files"


def image(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).random(shape).astype(np.float32)


# ---------------------------------------------------------------- messages


def test_caffes_mean_file_as_scripts_read_it():
    blob = caffe_pb2.BlobProto()
    blob.ParseFromString((FILES / "mean.binaryproto").read_bytes())
    mean = io.blobproto_to_array(blob)
    assert mean.shape[0] == 1  # the four old axes
    np.testing.assert_array_equal(mean[0], np.load(FILES / "mean.npy").reshape(mean.shape[1:]))


def test_blobs_go_both_ways():
    array, diff = image(2, 3, 4), image(2, 3, 4, seed=1)
    blob = io.array_to_blobproto(array, diff)
    np.testing.assert_array_equal(io.blobproto_to_array(blob), array)
    np.testing.assert_array_equal(io.blobproto_to_array(blob, return_diff=True), diff)
    for write in (io.arraylist_to_blobprotovector_str, io.arraylist_to_blobprotovecor_str):
        back = io.blobprotovector_str_to_arraylist(write([array, diff[0]]))
        assert [a.shape for a in back] == [(2, 3, 4), (3, 4)]


def test_datums_of_a_database_that_caffe_wrote():
    with lmdb.open(str(FILES / "lmdb_raw"), readonly=True, lock=False) as env, env.begin() as transaction:
        (_, value) = next(iter(transaction.cursor()))
    datum = caffe_pb2.Datum()
    datum.ParseFromString(value)
    pixels = io.datum_to_array(datum)
    assert (pixels.dtype, pixels.shape) == (np.uint8, (datum.channels, datum.height, datum.width))
    assert (io.array_to_datum(pixels).data, len(pixels.tobytes())) == (datum.data, pixels.size)


def test_datums_of_floats_and_mistakes():
    array = image(2, 3, 4).astype(np.float64)
    datum = io.array_to_datum(array)
    assert not datum.HasField("label")
    np.testing.assert_allclose(io.datum_to_array(datum), array, rtol=1e-7)
    with pytest.raises(ValueError, match=r"of shape \(3, 4\)"):
        io.array_to_datum(array[0])
    with pytest.raises(ValueError, match="encoded"):
        io.datum_to_array(caffe_pb2.Datum(encoded=True, data=b"x"))
    with pytest.raises(ValueError, match="holds 5 numbers"):
        io.datum_to_array(caffe_pb2.Datum(channels=1, height=2, width=3, data=b"12345"))


# ---------------------------------------------------------------- images

RGB = np.random.default_rng(0).integers(0, 256, (5, 4, 3), np.uint8)


@pytest.mark.parametrize(
    ("mode", "pixels", "color", "want"),
    [
        ("RGB", RGB, True, RGB / 255),
        ("RGB", RGB, False, (RGB / 255 @ [0.2125, 0.7154, 0.0721])[:, :, np.newaxis]),
        ("L", RGB[:, :, 0], True, np.repeat(RGB[:, :, :1], 3, 2) / 255),
        ("L", RGB[:, :, 0], False, RGB[:, :, :1] / 255),
        ("RGBA", np.dstack([RGB, RGB[:, :, 0]]), True, RGB / 255),
        ("LA", RGB[:, :, :2], True, np.repeat(RGB[:, :, :1], 3, 2) / 255),
        ("I;16", RGB[:, :, 0].astype(np.uint16) * 257, False, RGB[:, :, :1] / 255),
        ("1", RGB[:, :, 0] > 127, False, (RGB[:, :, :1] > 127).astype(float)),
    ],
)
def test_load_image_gives_rgb_or_gray_from_0_to_1(mode, pixels, color, want, tmp_path):
    Image.fromarray(pixels).convert(mode).save(tmp_path / "a.png")
    loaded = io.load_image(str(tmp_path / "a.png"), color)
    assert loaded.dtype == np.float32
    np.testing.assert_allclose(loaded, want, rtol=1e-6, atol=1e-7)


def test_a_palette_becomes_rgb(tmp_path):
    palette = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8), "P")
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.save(tmp_path / "a.png")
    np.testing.assert_array_equal(io.load_image(tmp_path / "a.png")[0], [[1, 0, 0], [0, 0, 1]])


def test_an_image_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(OSError, match=r"no\.png: cannot read the image: No such file"):
        io.load_image(str(tmp_path / "no.png"))
    (tmp_path / "a.png").write_bytes(b"text")
    with pytest.raises(OSError, match=r"a\.png: cannot read the image"):
        io.load_image(str(tmp_path / "a.png"))


@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize("size", [(3, 9), (7, 5), (14, 11), (1, 1)])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_1_or_3_channels_are_resized_by_areas(channels, size, order):
    """SciPy's grid mode, with the minimum behind the border: what scikit-image does, without smoothing."""
    check_areas(channels, size, order)


@pytest.mark.parametrize("size", [(3, 9), (7, 5), (5, 3)])  # no pixel between two that are equally near
def test_order_0_takes_the_nearest_pixel(size):
    check_areas(3, size, 0)


def check_areas(channels, size, order):
    picture = image(7, 5, channels) * 200 - 40
    low, high = picture.min(), picture.max()
    scaled = (picture.astype(np.float64) - low) / (high - low)
    factors = (size[0] / 7, size[1] / 5, 1)
    want = np.clip(ndimage.zoom(scaled, factors, order=order, mode="grid-constant", grid_mode=True), 0, 1)
    resized = io.resize_image(picture, size, interp_order=order)
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized, want * (high - low) + low, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("size", [(3, 9), (14, 11)])
def test_images_of_other_channels_are_resized_from_corner_to_corner(size, order):
    picture = image(7, 5, 4)
    want = ndimage.zoom(picture.astype(np.float64), (size[0] / 7, size[1] / 5, 1), order=order)
    np.testing.assert_allclose(io.resize_image(picture, size, interp_order=order), want, rtol=1e-4, atol=1e-5)


def test_an_even_image_stays_even_and_a_wrong_one_is_refused():
    np.testing.assert_array_equal(io.resize_image(np.full((3, 3, 1), 2.5), (2, 4)), np.full((2, 4, 1), 2.5, np.float32))
    with pytest.raises(SdcaffeError, match=r"not \(3, 3\) to"):
        io.resize_image(np.zeros((3, 3)), (2, 2))


def test_splines_without_scipy_say_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.ndimage", None)
    with pytest.raises(SdcaffeError, match="interp_order 3 needs SciPy"):
        io.resize_image(image(4, 4, 3), (2, 2), interp_order=3)


def test_oversample_takes_corners_centre_and_mirrors():
    one, two = image(5, 6, 3), image(5, 6, 3, seed=1)
    crops = io.oversample([one, two], (3, 4))
    assert crops.shape == (20, 3, 4, 3)
    places = [(0, 0), (0, 2), (2, 0), (2, 2), (1, 1)]
    for i, (y, x) in enumerate(places):
        np.testing.assert_array_equal(crops[i], one[y : y + 3, x : x + 4])
        np.testing.assert_array_equal(crops[15 + i], two[y : y + 3, x : x + 4][:, ::-1])


# ---------------------------------------------------------------- the transformer


def transformer(**shapes):
    made = io.Transformer(shapes or {"data": (1, 3, 4, 5)})
    made.set_transpose("data", (2, 0, 1))
    return made


def test_preprocess_makes_what_an_imagenet_net_takes():
    made, picture = transformer(), image(4, 5, 3)
    mean = np.array([104.0, 117.0, 123.0])
    made.set_mean("data", mean)
    made.set_raw_scale("data", 255)
    made.set_channel_swap("data", (2, 1, 0))
    made.set_input_scale("data", 0.017)
    kept = picture.copy()
    blob = made.preprocess("data", picture)
    want = (picture.transpose(2, 0, 1)[::-1] * 255.0 - mean.reshape(3, 1, 1)) * 0.017
    assert blob.dtype == np.float32
    np.testing.assert_allclose(blob, want, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(picture, kept)
    np.testing.assert_allclose(made.deprocess("data", blob[np.newaxis]), picture, rtol=1e-4, atol=1e-5)


def test_a_transpose_that_is_no_swap_is_undone_too():
    made, picture = io.Transformer({"data": (1, 5, 3, 4)}), image(3, 4, 5)
    made.set_transpose("data", (2, 0, 1))
    made.set_channel_swap("data", (1, 2, 3, 4, 0))
    np.testing.assert_array_equal(made.deprocess("data", made.preprocess("data", picture)), picture)


def test_preprocess_resizes_and_a_mean_image_is_resized():
    made, picture = transformer(), image(8, 10, 3)
    mean = image(3, 8, 10, seed=1)
    made.set_mean("data", mean)
    resized = io.resize_image(mean.transpose(1, 2, 0), (4, 5)).transpose(2, 0, 1)
    want = io.resize_image(picture, (4, 5)).transpose(2, 0, 1) - resized
    np.testing.assert_allclose(made.preprocess("data", picture), want, rtol=1e-5, atol=1e-6)
    gray = io.Transformer({"data": (1, 1, 4, 5)})
    gray.set_mean("data", image(4, 5))
    np.testing.assert_array_equal(gray.mean["data"], image(4, 5))


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("set_transpose", (1, 0), "one item"),
        ("set_channel_swap", (1, 0), "3 channels"),
        ("set_mean", np.zeros(2), "2 means for 3 channels"),
        ("set_mean", np.zeros((1, 3, 4, 5)), "a mean is"),
    ],
)
def test_settings_that_do_not_fit_are_refused(setting, value, message):
    with pytest.raises((SdcaffeError, ValueError), match=message):
        getattr(transformer(), setting)("data", value)
    with pytest.raises(SdcaffeError, match='"image" is none of the inputs data'):
        getattr(transformer(), setting)("image", value)
