"""Intel's pad of transform_param, in batches of the data layers that have it, by the fork's rule for each pixel."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from test_ssd_annotated import annotated, data, made, write

from sdcaffe import proto
from sdcaffe.errors import DataError, LayerError

CPU = torch.device("cpu")


def picture(height, width, seed=3):
    return np.random.RandomState(seed).randint(0, 256, (height, width, 3)).astype(np.uint8)


def encoded(image, label=4):
    return proto.Datum(encoded=True, data=cv2.imencode(".png", image)[1].tobytes(), label=label)


def transformed(crop, pad, means, scale, mirrored=False):
    """What intel/caffe@44d5363 makes of a window (h, w, 3): its condition for each pixel, and float64."""
    height, width = crop.shape[0] + 2 * pad, crop.shape[1] + 2 * pad
    rows, columns = np.mgrid[:height, :width]
    inside = (rows >= pad) & (columns >= pad) & (rows <= height - pad) & (columns <= width - pad)
    sheet = np.zeros((height, width, 3))
    sheet[pad : pad + crop.shape[0], pad : pad + crop.shape[1]] = crop
    scale = float(np.float32(scale))
    if means:
        values = np.rint((sheet - np.float32(means).astype(float)) * scale)  # half to even, as nearbyint
    else:
        values = sheet * scale
    found = np.where(inside[:, :, None], values, sheet)
    return found[:, ::-1].transpose(2, 0, 1) if mirrored else found.transpose(2, 0, 1)


def alike(found, wanted):
    assert found.shape == wanted.shape
    return np.allclose(found, wanted, rtol=1e-6, atol=0)


def body(pad, means, scale, more=""):
    return f"pad: {pad} scale: {scale} {' '.join(f'mean_value: {mean}' for mean in means)} {more}"


@pytest.mark.parametrize("pad", [1, 2, 3])
@pytest.mark.parametrize("means", [[], [7], [-48.25, 10, 100.5]], ids=len)
@pytest.mark.parametrize("scale", [1, 0.5, 0.841059625149])
def test_a_border_round_the_crop_in_the_middle(tmp_path, pad, means, scale):
    image = picture(9, 12)
    write(tmp_path / "db", encoded(image))
    layer = made(data(tmp_path / "db", body(pad, means, scale, "crop_size: 6"), kind="Data"), "TEST")
    wanted = transformed(image[1:7, 3:9], pad, means, scale)
    for _ in range(2):  # the second one from what is kept of the first
        found, label = (top.numpy() for top in layer.next_batch(CPU))
        assert alike(found[0], wanted)
        assert label == [4]
    layer.close()


def test_a_border_round_the_whole_picture(tmp_path):
    image = picture(5, 8)
    write(tmp_path / "db", encoded(image))
    layer = made(data(tmp_path / "db", body(2, [20], 0.25), kind="Data"), "TEST")
    assert layer.shapes[0] == (1, 3, 9, 12)
    assert alike(layer.next_batch(CPU)[0].numpy()[0], transformed(image, 2, [20], 0.25))


@pytest.mark.parametrize("pad", [1, 3])
@pytest.mark.parametrize("phase", ["TRAIN", "TEST"])
def test_a_drawn_window_is_mirrored_with_its_border(tmp_path, phase, pad):
    image = picture(8, 7)
    write(tmp_path / "db", encoded(image))
    text = data(tmp_path / "db", body(pad, [-30], 0.5, "crop_size: 5 mirror: true"), kind="Data", batch=40)
    found = made(text, phase).next_batch(CPU)[0].numpy()
    places = [(top, left) for top in range(4) for left in range(3)] if phase == "TRAIN" else [(1, 1)]
    wanted = {
        (*place, mirrored): transformed(image[place[0] :, place[1] :][:5, :5], pad, [-30], 0.5, mirrored)
        for place in places
        for mirrored in (False, True)
    }
    seen = [[key for key, one in wanted.items() if alike(item, one)] for item in found]
    assert all(len(keys) == 1 for keys in seen)
    drawn = {keys[0] for keys in seen}
    assert len(drawn) > len(wanted) // 2
    assert {mirrored for *_, mirrored in drawn} == {False, True}


def test_the_border_comes_behind_a_drawn_size(tmp_path):
    image = picture(20, 33)
    write(tmp_path / "db", encoded(image))
    sized = "crop_size: 16 random_resize_param { min_size: 17 max_size: 17 resize_param { interp_mode: LINEAR } }"
    layer = made(data(tmp_path / "db", body(3, [1, 2, 3], 0.5, sized), kind="Data"), "TEST")
    whole = cv2.resize(image, (28, 17), interpolation=cv2.INTER_LINEAR)
    assert alike(layer.next_batch(CPU)[0].numpy()[0], transformed(whole[:16, 6:22], 3, [1, 2, 3], 0.5))


def test_intels_own_layer_gives_bytes(tmp_path):
    """The data layer of models/intel_optimized_models/int8/resnet50_int8_acc_clx_winograd.prototxt."""
    write(tmp_path / "db", encoded(picture(256, 300)))
    means, scale = [-48.1889724731, -35.1889724731, -29.1889724731], 0.841059625149
    sized = "random_resize_param { min_size: 256 max_size: 256 resize_param { interp_mode: CUBIC } }"
    transform = body(3, means, scale, f"crop_size: 224 mirror: false {sized}")
    layer = made(data(tmp_path / "db", transform, kind="Data"), "TEST")
    found = layer.next_batch(CPU)[0].numpy()[0]
    assert found.shape == (3, 230, 230)
    assert np.array_equal(found, found.astype(np.uint8))
    assert not found[:, :3].any()
    assert not found[:, :, 228:].any()
    # 48.19 * 0.841 = 40.53, 35.19 * 0.841 = 29.60, 29.19 * 0.841 = 24.55
    assert np.array_equal(found[:, 227, 3:228], np.repeat([[41], [30], [25]], 225, 1))


def test_image_files(tmp_path):
    image = picture(6, 6)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    (tmp_path / "list").write_text(f"{tmp_path}/a.png 2\n")
    text = (
        f'layer {{ type: "ImageData" top: "x" top: "l" transform_param {{ {body(1, [9], 2)} }} '
        f'image_data_param {{ source: "{tmp_path}/list" batch_size: 1 }} }}'
    )
    assert alike(made(text).next_batch(CPU)[0].numpy()[0], transformed(image, 1, [9], 2))


def test_boxes_are_those_of_the_picture_without_a_border(tmp_path):
    image = picture(12, 10)
    path = write(tmp_path / "db", annotated(image, (1, 0.25, 0.3, 0.7, 0.8), (2, 0.4, 0.4, 0.9, 0.6)))
    with_border, without = (
        made(data(path, f"crop_size: 8 {pad} emit_constraint {{ emit_type: CENTER }}"), "TEST").next_batch(CPU)
        for pad in ("pad: 2", "")
    )
    assert alike(with_border[0].numpy()[0], transformed(image[2:10, 1:9], 2, [], 1))
    assert np.array_equal(with_border[1], without[1])
    assert len(without[1][0, 0]) == 2


WRONG = [
    ("pad: -1", "pad must be 0 or more, not -1"),
    ("pad: 4000000000", "would be"),
    ('pad: 1 mean_file: "mean"', "pad cannot be used with mean_file: Intel's Caffe takes each mean `pad` rows"),
    ("pad: 1 crop_h: 3 crop_w: 3", "pad goes round a window of crop_size"),
    ("pad: 1 crop_size: 3 resize_param { height: 5 width: 5 }", "of pad, crop_size and resize_param give two"),
    ("pad: 1 crop_size: 3 noise_param { prob: 1 posterize: true }", "of pad, crop_size and noise_param give two"),
]


@pytest.mark.parametrize(("transform", "message"), WRONG)
def test_settings_that_cannot_be(tmp_path, transform, message):
    write(tmp_path / "db", encoded(picture(6, 6)))
    with pytest.raises(LayerError, match=message):
        made(data(tmp_path / "db", transform, kind="Data"))


def test_pixels_as_they_are_have_no_border(tmp_path):
    write(tmp_path / "db", proto.Datum(channels=3, height=6, width=6, data=bytes(108), label=0))
    with pytest.raises(DataError, match="pad round encoded pictures only"):
        made(data(tmp_path / "db", "pad: 1", kind="Data")).next_batch(CPU)
