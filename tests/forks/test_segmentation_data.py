"""Images with labels for each pixel: what SegNet's and PSPNet's data layers give, against OpenCV doing the same."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from data_layers import CPU, batches, make

import sdcaffe
from sdcaffe.data.opening import open_source
from sdcaffe.errors import DataError, LayerError

SIZE = (20, 30)


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
