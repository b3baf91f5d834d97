"""Images with labels for each pixel: what SegNet's and PSPNet's data layers give, against OpenCV doing the same."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from data_layers import CPU, batches
from fork_layers import net_param

import sdcaffe
from sdcaffe.cli import main
from sdcaffe.data.opening import open_source
from sdcaffe.errors import DataError, LayerError
from sdcaffe.layers.base import class_of

SIZE = (20, 30)


def make(text, phase="TRAIN"):
    """The layer, of its type or the dialect that claims it, set up; its top shapes are in `top_shapes`."""
    param = net_param(f'layer {{ name: "data" {text} }}').layer[0]
    layer = class_of(param)(param, getattr(sdcaffe.proto, phase))
    layer.top_shapes = layer.setup([])
    return layer


@pytest.fixture(autouse=True)
def opencvs_own_code():
    """Intel's library rounds in its own ways; OpenCV as the forks were built with has none of it."""
    before = cv2.ipp.useIPP()
    cv2.ipp.setUseIPP(False)
    yield
    cv2.ipp.setUseIPP(before)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Four images, their label images, and lists of them in both forks' ways."""
    sdcaffe.discover()
    monkeypatch.chdir(tmp_path)
    random = np.random.RandomState(5)
    for i in range(4):
        cv2.imwrite(f"image{i}.png", random.randint(0, 256, (*SIZE, 3)).astype(np.uint8))
        cv2.imwrite(f"label{i}.png", random.randint(0, 12, SIZE).astype(np.uint8))
    lines = [f"image{i}.png label{i}.png\n" for i in range(4)]
    (tmp_path / "list.txt").write_text("".join(lines))
    return tmp_path


def pair(i):
    return cv2.imread(f"image{i}.png"), cv2.imread(f"label{i}.png", cv2.IMREAD_GRAYSCALE)


def channels_first(image):
    return image.transpose(2, 0, 1).astype(np.float32) if image.ndim == 3 else image[None].astype(np.float32)


def dense(body, transform="", phase="TRAIN", source="list.txt"):
    return make(
        f'type: "DenseImageData" top: "data" top: "label" transform_param {{ {transform} }} '
        f'dense_image_data_param {{ source: "{source}" {body} }}',
        phase,
    )


def test_images_and_label_images_come_in_the_lists_order(folder):
    layer = dense("batch_size: 3", "mean_value: 104 mean_value: 117 mean_value: 123 scale: 0.5")
    assert layer.top_shapes == [(3, 3, *SIZE), (3, 1, *SIZE)]
    data, label = batches(layer, 3)
    layer.close()
    mean = np.array([104, 117, 123], np.float32)[:, None, None]
    for k in range(9):
        image, labels = pair(k % 4)
        assert np.array_equal(data[k], (channels_first(image) - mean) * np.float32(0.5))
        assert np.array_equal(label[k], channels_first(labels))


def test_images_are_resized_smoothly_and_labels_to_the_nearest(folder):
    layer = dense("batch_size: 4 new_height: 13 new_width: 47 is_color: false")
    data, label = batches(layer, 1)
    layer.close()
    for i in range(4):
        gray, labels = cv2.imread(f"image{i}.png", cv2.IMREAD_GRAYSCALE), pair(i)[1]
        assert np.array_equal(data[i, 0], cv2.resize(gray, (47, 13), interpolation=cv2.INTER_LINEAR))
        assert np.array_equal(label[i, 0], cv2.resize(labels, (47, 13), interpolation=cv2.INTER_NEAREST))


def window_of(label, image, labels):
    """Where `label` (h, w) lies in `labels`, as it is or mirrored: (mirrored, top, left), and the image there."""
    height, width = label.shape
    for mirrored in (False, True):
        whole, picture = (labels[:, ::-1], image[:, ::-1]) if mirrored else (labels, image)
        for top in range(SIZE[0] - height + 1):
            for left in range(SIZE[1] - width + 1):
                if np.array_equal(whole[top : top + height, left : left + width], label):
                    return (mirrored, top, left), picture[top : top + height, left : left + width]
    raise AssertionError("the labels are no window of the label image")


@pytest.mark.parametrize("phase", ["TRAIN", "TEST"])
def test_a_window_and_a_flip_are_the_same_for_the_image_and_its_labels(folder, phase):
    layer = dense("batch_size: 4 mirror: true crop_height: 16 crop_width: 20", phase=phase)
    data, label = batches(layer, 30)
    layer.close()
    assert data.shape[2:] == label.shape[2:] == (16, 20)
    places = []
    for k in range(120):
        place, image = window_of(label[k, 0], *pair(k % 4))
        assert np.array_equal(data[k], channels_first(image))
        places.append(place)
    mirrored, tops, lefts = (set(values) for values in zip(*places, strict=True))
    assert (mirrored, tops, lefts) == ({False, True}, set(range(5)), set(range(11)))
    assert 35 < sum(place[0] for place in places) < 85


def test_a_mean_image_is_subtracted_from_what_the_crop_leaves(folder):
    mean = np.random.RandomState(0).rand(3, *SIZE).astype(np.float32) * 200
    sdcaffe.proto.write_blob("mean.binaryproto", mean[None])
    layer = dense("batch_size: 1 mirror: true", 'mean_file: "mean.binaryproto"')
    data, label = batches(layer, 8)
    layer.close()
    for k in range(8):
        (_, _, _), image = window_of(label[k, 0], *pair(k % 4))
        assert np.array_equal(data[k], channels_first(image) - mean)


def test_one_image_at_a_time_may_have_any_size(folder):
    cv2.imwrite("image1.png", np.zeros((9, 7, 3), np.uint8))
    cv2.imwrite("label1.png", np.zeros((9, 7), np.uint8))
    layer = dense("batch_size: 1")
    shapes = [tuple(top.shape) for _ in range(2) for top in layer.next_batch(CPU)]
    layer.close()
    assert shapes == [(1, 3, *SIZE), (1, 1, *SIZE), (1, 3, 9, 7), (1, 1, 9, 7)]
    layer = dense("batch_size: 2")
    with pytest.raises(DataError, match=r"list\.txt:2: is 3 x 9 x 7, but the first of its batch 3 x 20 x 30"):
        layer.next_batch(CPU)
    layer.close()


def test_a_list_may_stand_in_one_line_below_a_folder(folder):
    (folder / "all.txt").write_text(" ".join(f"image{i}.png label{i}.png" for i in (2, 0)))
    layer = dense(f'batch_size: 2 root_folder: "{folder}/"', source="all.txt")
    label = batches(layer, 1)[1]
    layer.close()
    assert np.array_equal(label[0, 0], pair(2)[1])
    assert np.array_equal(label[1, 0], pair(0)[1])


def test_epochs_are_shuffled_and_a_run_resumes_where_it_was(folder):
    layer = dense("batch_size: 4 shuffle: true mirror: true crop_height: 18 crop_width: 28")
    layer.seed = 3
    whole = batches(layer, 4)
    layer.cursor = 2
    again = batches(layer, 2)
    layer.close()
    assert all(np.array_equal(half, full[8:]) for half, full in zip(again, whole, strict=True))
    orders = []
    for epoch in range(4):
        order = []
        for label in whole[1][4 * epoch : 4 * epoch + 4, 0]:
            order += [i for i in range(4) if any(_inside(label, flip) for flip in (pair(i)[1], pair(i)[1][:, ::-1]))]
        assert sorted(order) == [0, 1, 2, 3]
        orders.append(tuple(order))
    assert len(set(orders)) > 1


def _inside(label, labels):
    windows = np.lib.stride_tricks.sliding_window_view(labels, label.shape)
    return bool((windows == label).all((2, 3)).any())


@pytest.mark.parametrize(
    ("body", "transform", "message", "field"),
    [
        ("", "", "batch_size is 0", "batch_size"),
        ("batch_size: 1 new_height: 4", "", "new_height 4 and new_width 0: give both or neither", "new_height"),
        ("batch_size: 1 crop_width: 4", "", "crop_height 0 and crop_width 4: give both or neither", "crop_width"),
        ("batch_size: 1", "mirror: true", "mirror in transform_param would leave the labels; give mirror", "mirror"),
        ("batch_size: 1", "crop_size: 3", "leave the labels; give crop_height and crop_width instead", "crop_size"),
        ("batch_size: 1 rand_skip: 90000", "", "rand_skip skips [0-9]+ of only 4 images", "rand_skip"),
    ],
)
def test_settings_without_meaning(folder, body, transform, message, field):
    with pytest.raises(LayerError, match=message) as caught:
        dense(body, transform)
    assert caught.value.field == field


def test_lists_and_images_that_do_not_fit(folder):
    def told(text, message, body="batch_size: 1"):
        (folder / "bad.txt").write_text(text)
        with pytest.raises(DataError, match=message):
            dense(body, source="bad.txt")

    told("", "the list names no images")
    told("image0.png label0.png\nimage1.png\n", r"bad\.txt:2: the last image has no label image")
    told("image0.png label0.png\nimage9.png label1.png", r"bad\.txt:2: there is no image image9\.png; set root_folder")
    told(
        "image0.png label0.png",
        "is 30 x 20 pixels, smaller than the crop",
        "batch_size: 1 crop_height: 21 crop_width: 9",
    )
    cv2.imwrite("small.png", np.zeros((5, 6), np.uint8))
    told("image0.png small.png", r"bad\.txt:1: the label image small\.png is 6 x 5 pixels, its image 30 x 20")
    with pytest.raises(DataError, match="this source labels no pixels"):
        dense("batch_size: 1", source="synthetic:train")


def test_the_shapes_labels_lie_in_their_boxes():
    sdcaffe.discover()
    source = open_source("shapes:train")
    for i in range(40):
        picture, pair = source.picture(i), source.pair(i)
        assert np.array_equal(picture.pixels, pair.pixels)
        inside = np.zeros((64, 64), np.uint8)
        for (xmin, ymin, xmax, ymax), (label, _, _) in zip(picture.labelled.boxes, picture.labelled.facts, strict=True):
            left, top, right, bottom = (round(64 * edge) for edge in (xmin, ymin, xmax, ymax))
            box = pair.labels[0, top:bottom, left:right]
            assert set(np.unique(box)) <= {0, label}
            assert (box > 0).any(0).all()
            assert (box > 0).any(1).all()
            filled = (box > 0).mean()  # a disc fills pi / 4 of its box, a triangle half
            assert filled == pytest.approx({1: 0.785, 2: 1, 3: 0.5}[label], abs=0.13)
            inside[top:bottom, left:right] = 1
        assert not pair.labels[0, inside == 0].any()


def seg(body, transform="", phase="TRAIN", source="list.txt", dims=True):
    third = 'top: "dim"' if dims else ""
    return make(
        f'type: "ImageSegData" top: "data" top: "label" {third} '
        f'transform_param {{ {transform} }} image_data_param {{ source: "{source}" {body} }}',
        phase,
    )


MEANS = "mean_value: 103.5 mean_value: 116 mean_value: 123.7 scale: 0.5"
MEAN = np.array([103.5, 116, 123.7], np.float32)[:, None, None]


def test_label_images_come_with_their_images_and_the_sizes_these_had(folder):
    layer = seg("batch_size: 2 label_type: PIXEL", MEANS)
    assert layer.top_shapes == [(2, 3, *SIZE), (2, 1, *SIZE), (2, 1, 1, 2)]
    data, label, dims = batches(layer, 2)
    layer.close()
    for k in range(4):
        image, labels = pair(k)
        assert np.array_equal(data[k], (channels_first(image) - MEAN) * np.float32(0.5))
        assert np.array_equal(label[k], channels_first(labels))
        assert dims[k].flatten().tolist() == [20, 30]


@pytest.mark.parametrize("factor", [0.75, 1.3])
def test_images_are_scaled_padded_with_the_mean_and_cropped_in_the_middle(folder, factor):
    transform = f"{MEANS} scale_factors: {factor} crop_height: 24 crop_width: 24"
    layer = seg("batch_size: 4 label_type: PIXEL ignore_label: 250", transform, "TEST")
    data, label, dims = batches(layer, 1)
    layer.close()
    height, width = int(20 * factor), int(30 * factor)
    for k in range(4):
        image, labels = pair(k)
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float64)
        labels = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST)
        below, beside = max(24 - height, 0), max(24 - width, 0)
        fill = (103.5, 116, float(np.float32(123.7)))
        image = cv2.copyMakeBorder(image, 0, below, 0, beside, cv2.BORDER_CONSTANT, value=fill)
        labels = cv2.copyMakeBorder(labels, 0, below, 0, beside, cv2.BORDER_CONSTANT, value=250)
        top, left = (image.shape[0] - 24) // 2, (image.shape[1] - 24) // 2
        image, labels = image[top : top + 24, left : left + 24], labels[top : top + 24, left : left + 24]
        assert np.allclose(data[k], (channels_first(image) - MEAN) * 0.5, atol=1e-5)
        assert np.array_equal(label[k], channels_first(labels))
        assert dims[k].flatten().tolist() == [20, 24]


def test_what_is_drawn_is_the_same_for_an_image_and_its_labels(folder):
    layer = seg("batch_size: 4 label_type: PIXEL", "mirror: true crop_size: 18 scale_factors: 1 scale_factors: 2")
    data, label, _ = batches(layer, 30)
    layer.close()
    places = []
    for k in range(120):
        for scale in (1, 2):
            image, labels = (
                cv2.resize(own, (30 * scale, 20 * scale), interpolation=flag)
                for own, flag in zip(pair(k % 4), (cv2.INTER_LINEAR, cv2.INTER_NEAREST), strict=True)
            )
            windows = np.lib.stride_tricks.sliding_window_view(labels, (18, 18))
            for mirrored, own in ((False, label[k, 0]), (True, label[k, 0][:, ::-1])):
                for top, left in np.argwhere((windows == own).all((2, 3))):
                    part = channels_first(image[top : top + 18, left : left + 18])
                    if np.array_equal(data[k], part[:, :, ::-1] if mirrored else part):
                        places.append((scale, mirrored, top, left))
    assert len(places) == 120
    scales, mirrored, tops, lefts = (np.array(values) for values in zip(*places, strict=True))
    assert 35 < (scales == 2).sum() < 85
    assert 35 < mirrored.sum() < 85
    assert set(tops[scales == 1]) == set(range(3))
    assert set(lefts[scales == 1]) == set(range(13))
    assert tops[scales == 2].max() > 15
    assert lefts[scales == 2].max() > 30


def test_a_label_of_the_whole_image_or_none(folder):
    (folder / "whole.txt").write_text("image0.png 7\nimage1.png 300\n")
    layer = seg("batch_size: 2", source="whole.txt", dims=False)
    data, label = batches(layer, 1)
    layer.close()
    assert np.array_equal(data[1], channels_first(pair(1)[0]))
    assert (label[0] == 7).all()
    assert (label[1] == 255).all()  # a byte holds no more
    (folder / "none.txt").write_text("image0.png\nimage1.png some words\n")
    layer = seg("batch_size: 2 label_type: NONE ignore_label: 21", source="none.txt")
    assert (batches(layer, 1)[1] == 21).all()
    layer.close()


def test_label_images_that_are_resized_are_blended_as_in_the_fork(folder):
    layer = seg("batch_size: 1 label_type: PIXEL new_height: 9 new_width: 14")
    label = batches(layer, 1)[1]
    layer.close()
    assert np.array_equal(label[0, 0], cv2.resize(pair(0)[1], (14, 9), interpolation=cv2.INTER_LINEAR))


@pytest.mark.parametrize(
    ("body", "transform", "message", "field"),
    [
        ("batch_size: 0", "", "batch_size is 0", "batch_size"),
        ("new_width: 4", "", "give both or neither", "new_width"),
        ("", 'mean_file: "m"', "takes no mean_file", "mean_file"),
        ("", "crop_height: 4", "give crop_size, or crop_height and crop_width", "crop_height"),
        ("", "crop_height: 4 crop_width: 4 crop_size: 4", "give crop_size, or crop_height", "crop_height"),
        ("", "scale_factors: 0", "scale_factors must be above 0", "scale_factors"),
    ],
)
def test_settings_without_meaning_here(folder, body, transform, message, field):
    with pytest.raises(LayerError, match=message) as caught:
        seg(body, transform)
    assert caught.value.field == field


def test_lines_without_the_label_that_label_type_asks_for(folder):
    (folder / "bad.txt").write_text("image0.png 3\nimage1.png\n")
    with pytest.raises(DataError, match=r"bad\.txt:2: has no label; label_type: NONE needs none"):
        seg("", source="bad.txt")
    with pytest.raises(DataError, match=r'list\.txt:1: "label0.png" is no whole number; label images need .*PIXEL'):
        seg("")


def test_a_data_layer_tells_that_it_passes_over_scale_factors(folder, caplog):
    with caplog.at_level("WARNING", "sdcaffe"):
        layer = make('type: "Data" top: "data" transform_param { scale_factors: 0.5 } '
                     'data_param { source: "shapes:train" batch_size: 2 }')  # fmt: skip
    assert "scale_factors is passed over; ImageSegData alone has it" in caplog.text
    assert layer.top_shapes == [(2, 3, 64, 64)]
    layer.close()


# ---------------------------------------------------------------- ENet's label_divide_factor


def test_labels_of_an_encoder_are_smaller_by_a_factor(folder):
    layer = dense("batch_size: 4 new_height: 13 new_width: 47 label_divide_factor: 4 mirror: true")
    assert layer.top_shapes == [(4, 3, 13, 47), (4, 1, 3, 11)]
    data, label = batches(layer, 1)
    layer.close()
    flips = 0
    for i in range(4):
        image, labels = pair(i)
        image = cv2.resize(image, (47, 13), interpolation=cv2.INTER_LINEAR)
        labels = cv2.resize(labels, (11, 3), interpolation=cv2.INTER_NEAREST)
        flipped = not np.array_equal(data[i], channels_first(image))
        flips += flipped
        assert np.array_equal(data[i], channels_first(image[:, ::-1] if flipped else image))
        assert np.array_equal(label[i, 0], labels[:, ::-1] if flipped else labels)
    assert 0 < flips < 4


@pytest.mark.parametrize(
    "body", ["", "crop_height: 4 crop_width: 4 new_height: 9 new_width: 9", "new_height: 3 new_width: 9"]
)
def test_a_factor_that_the_fork_stops_at(folder, body):
    with pytest.raises(LayerError, match="label_divide_factor must be 1 or more, and above 1 needs"):
        dense(f"batch_size: 1 label_divide_factor: 4 {body}")


SMALL = """layer { name: "data" type: "DenseImageData" top: "data" top: "label" include { phase: TEST }
  dense_image_data_param { source: "nowhere.txt" batch_size: 2 } }
layer { name: "data" type: "DenseImageData" top: "data" top: "label" include { phase: TRAIN }
  dense_image_data_param { source: "nowhere.txt" batch_size: 2 } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 3 kernel_size: 1 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "conv" bottom: "label" top: "loss" }
"""


def test_a_summary_is_told_the_shapes_of_images_and_of_their_pixels_labels(folder, capsys):
    (folder / "net.prototxt").write_text(SMALL)
    assert main(["summary", "net.prototxt", "--shape", "data=2,3,5,7", "--shape", "label=2,1,5,7"]) == 0
    assert "2 x 3 x 5 x 7" in capsys.readouterr().out
    assert main(["summary", "net.prototxt", "--shape", "data=2,3,5,7"]) == 1
    assert "need 70 labels" in capsys.readouterr().err
    assert main(["summary", "net.prototxt", "--shape", "date=2,3,5,7"]) == 1
    assert 'no layer brings a blob "date" to give a shape; there are data\n' in capsys.readouterr().err
