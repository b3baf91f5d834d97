"""Blobs: shapes, views, and memory that several share."""

from __future__ import annotations

import numpy as np
import pytest

from sdcaffe.errors import LayerError
from sdcaffe.layers.blob import Blob, BlobVec


def test_shape_and_the_four_old_names():
    blob = Blob(2, 3, 4)
    assert (blob.shape, blob.count) == ((2, 3, 4), 24)
    assert (blob.num, blob.channels, blob.height, blob.width) == (2, 3, 4, 1)
    assert (Blob().shape, Blob().count, Blob().data.shape) == ((), 1, ())
    with pytest.raises(LayerError, match="up to 4 axes"):
        _ = Blob(1, 1, 1, 1, 1).num


def test_data_and_diff_are_zero_views_of_float32():
    blob = Blob(2, 2)
    blob.data[0] = 5
    blob.diff[...] = 6
    assert blob.data.dtype == np.float32
    np.testing.assert_array_equal(blob.data, [[5, 5], [0, 0]])
    assert (blob.diff == 6).all()
    with pytest.raises(AttributeError):
        blob.data = np.ones((2, 2))


def test_a_smaller_shape_keeps_the_memory_and_a_larger_one_is_new():
    blob = Blob(2, 3)
    blob.data.flat = range(6)
    view = blob.data
    blob.reshape(4)
    np.testing.assert_array_equal(blob.data, [0, 1, 2, 3])
    blob.reshape(3, 2)
    np.testing.assert_array_equal(blob.data, [[0, 1], [2, 3], [4, 5]])
    assert np.shares_memory(blob.data, view)
    blob.reshape(7)
    assert not blob.data.any()
    np.testing.assert_array_equal(view, [[0, 1, 2], [3, 4, 5]])


def test_blobs_of_one_count_share_memory():
    one, two = Blob(2, 3), Blob(6)
    two.share_data(one)
    two.share_diff(one)
    two.data[5] = two.diff[5] = 9
    assert one.data[1, 2] == one.diff[1, 2] == 9
    with pytest.raises(LayerError, match="cannot share"):
        two.share_data(Blob(5))


@pytest.mark.parametrize("shape", [(2, -1), (1,) * 33])
def test_shapes_that_no_blob_can_have_are_refused(shape):
    with pytest.raises(LayerError, match="cannot have the shape"):
        Blob().reshape(*shape)


def test_add_blob_appends_zeros():
    blobs = BlobVec()
    blobs.add_blob(2, 3)
    blobs.add_blob()
    assert [blob.shape for blob in blobs] == [(2, 3), ()]
    with pytest.raises(LayerError, match="no keywords"):
        blobs.add_blob(shape=(1,))
