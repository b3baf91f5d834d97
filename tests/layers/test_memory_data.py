"""MemoryData: given arrays in batches, and arrays that do not fit."""

from __future__ import annotations

import data_layers
import numpy as np
import pytest

from sdcaffe.errors import DataError, LayerError


def memory(batch=2, extra=""):
    return data_layers.make(
        f'type: "MemoryData" top: "data" top: "label" {extra} '
        f"memory_data_param {{ batch_size: {batch} channels: 3 height: 2 width: 4 }}"
    )


def arrays(count):
    return np.random.default_rng(count).standard_normal((count, 3, 2, 4)).astype(np.float32), np.arange(count)


def test_batches_follow_each_other_and_begin_again():
    layer = memory()
    assert layer.top_shapes == [(2, 3, 2, 4), (2,)]
    data, labels = arrays(6)
    layer.set_arrays(data, labels)
    found, found_labels = data_layers.batches(layer, 4)
    assert np.array_equal(found, np.concatenate([data, data[:2]]))
    assert found_labels.tolist() == [0, 1, 2, 3, 4, 5, 0, 1]
    assert layer.cursor == 4


def test_new_arrays_start_from_their_first_row_and_are_read_when_they_are_needed():
    """Caffe keeps pointers into a script's arrays."""
    layer = memory()
    layer.set_arrays(*arrays(4))
    layer.next_batch(data_layers.CPU)
    data, labels = arrays(2)
    layer.set_arrays(data, labels.reshape(2, 1, 1, 1))
    data[:] = 7
    found, found_labels = data_layers.batches(layer, 1)
    assert (found == 7).all()
    assert found_labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("data", "labels", "message"),
    [
        (
            np.zeros((2, 3, 2, 5)),
            np.zeros(2),
            r"data has shape 2 3 2 5 \(60\) but memory_data_param says N x 3 x 2 x 4",
        ),
        (np.zeros((2, 24)), np.zeros(2), r"data has shape 2 24 \(48\)"),
        (np.zeros((4, 3, 2, 4)), np.zeros(2), "4 images but labels of shape"),
        (np.zeros((4, 3, 2, 4)), np.zeros((1, 4)), "4 images but labels of shape"),
        (np.zeros((3, 3, 2, 4)), np.zeros(3), "3 images are no whole number of batches of 2"),
        (np.zeros((0, 3, 2, 4)), np.zeros(0), "0 images are no whole number"),
    ],
)
def test_arrays_that_do_not_fit(data, labels, message):
    with pytest.raises(DataError, match=message):
        memory().set_arrays(data, labels)


def test_without_arrays_it_says_what_to_do():
    with pytest.raises(DataError, match="has no data yet; give it with set_arrays"):
        memory().next_batch(data_layers.CPU)


def test_a_size_of_zero_is_refused():
    with pytest.raises(LayerError, match="must be 1 or more, not 0 x 3 x 2 x 4"):
        memory(0)


def test_transform_param_is_passed_over_with_a_warning(caplog):
    layer = memory(extra="transform_param { scale: 2 }")
    data, labels = arrays(2)
    layer.set_arrays(data, labels)
    assert np.array_equal(data_layers.batches(layer, 1)[0], data)
    assert "MemoryData does not transform array data" in caplog.text
    layer.close()
