"""ImageData: files that Caffe's own tools turned into a database give the same images."""

from __future__ import annotations

import logging
import shutil

import data_layers
import numpy as np
import pytest

from sdcaffe.errors import DataError, LayerError

LABELS = [int(line.split()[1]) for line in (data_layers.FILES / "list.txt").read_text().splitlines()]


def images(extra, transform="", phase="TEST"):
    return data_layers.make(
        f'type: "ImageData" top: "data" top: "label" transform_param {{ {transform} }} '
        f'image_data_param {{ source: "{data_layers.FILES}/list.txt" root_folder: "{data_layers.FILES}/images/" '
        f"new_height: 40 new_width: 40 {extra} }}",
        phase,
    )


def test_resized_images_are_those_convert_imageset_stored(tmp_path):
    """goldens/files/lmdb_raw: the same list, resized to 40x40, by Caffe."""
    layer = images("batch_size: 24")
    found, labels = data_layers.batches(layer, 1)
    layer.close()
    stored = data_layers.make(
        f'type: "Data" top: "data" data_param {{ source: "{data_layers.recorded("lmdb_raw", tmp_path)}" '
        "batch_size: 24 backend: LMDB }"
    )
    assert np.array_equal(found, data_layers.batches(stored, 1)[0])
    assert labels.tolist() == LABELS
    stored.close()


def test_transformed_batches_are_those_caffes_data_layer_gave():
    layer = images("batch_size: 8", "crop_size: 32 mean_value: 104 mean_value: 117 mean_value: 123")
    assert layer.top_shapes == [(8, 3, 32, 32), (8,)]
    found, labels = data_layers.batches(layer, 3)
    layer.close()
    with np.load(data_layers.FILES / "test_batches.npz") as expected:
        assert np.array_equal(found, expected["data"])
        assert np.array_equal(labels, expected["label"])


def test_gray_images_have_one_channel():
    layer = images("batch_size: 5 is_color: false")
    assert layer.top_shapes[0] == (5, 1, 40, 40)
    layer.close()


def test_the_list_begins_again_inside_a_batch():
    layer = images("batch_size: 10")
    assert data_layers.batches(layer, 5)[1].tolist() == [LABELS[i % 24] for i in range(50)]
    layer.close()


def test_shuffled_epochs_hold_every_image_once():
    layer = images("batch_size: 8 shuffle: true")
    layer.seed = 2
    found, _ = data_layers.batches(layer, 6)
    layer.close()
    plain = images("batch_size: 24")
    every = {image.tobytes() for image in data_layers.batches(plain, 1)[0]}
    plain.close()
    epochs = [[image.tobytes() for image in epoch] for epoch in found.reshape(2, 24, 3, 40, 40)]
    assert set(epochs[0]) == set(epochs[1]) == every
    assert epochs[0] != epochs[1]


def test_images_of_several_sizes_need_a_size_or_a_crop(tmp_path):
    text = f'type: "ImageData" top: "data" top: "label" image_data_param {{ source: "{data_layers.FILES}/list.txt" '
    text += f'root_folder: "{data_layers.FILES}/images/" batch_size: 24 }}'
    layer = data_layers.make(text)
    with pytest.raises(DataError, match=r"list\.txt: line [0-9]+ .* of the same batch .* set crop_size"):
        layer.next_batch(data_layers.CPU)
    layer.close()
    layer = data_layers.make(text + " transform_param { crop_size: 30 }")
    assert layer.next_batch(data_layers.CPU)[0].shape == (24, 3, 30, 30)
    layer.close()


def test_a_missing_file_is_an_error_at_setup(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(data_layers.FILES / "images" / "im00.jpg", "im00.jpg")
    (tmp_path / "list.txt").write_text("im00.jpg 1\nim01.jpg 2\n")
    with pytest.raises(DataError, match=r"list\.txt:2: there is no image im01\.jpg"):
        data_layers.make('type: "ImageData" top: "a" top: "b" image_data_param { source: "list.txt" }')


@pytest.mark.parametrize(
    ("text", "message", "field"),
    [
        ("batch_size: 0", "batch_size is 0", "batch_size"),
        ("new_height: 4", "new_height 4 and new_width 0: give both or neither", "new_height"),
        ("new_width: 4", "new_height 0 and new_width 4", "new_width"),
    ],
)
def test_parameters_without_meaning(text, message, field):
    with pytest.raises(LayerError, match=message) as caught:
        data_layers.make(f'type: "ImageData" top: "a" top: "b" image_data_param {{ {text} }}')
    assert caught.value.field == field


def test_what_caffe_logs(caplog):
    caplog.set_level(logging.INFO, "sdcaffe")
    images("batch_size: 4 shuffle: true").close()
    assert [record.message for record in caplog.records] == [
        f"Opening file {data_layers.FILES}/list.txt",
        "Shuffling data",
        "A total of 24 images.",
        "output data size: 4,3,40,40",
    ]
