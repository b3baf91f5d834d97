import pytest
from layer_building import backward, make

from sdcaffe.errors import LayerError


def test_the_top_is_the_blob():
    layer = make("Parameter", "parameter_param { shape { dim: 2 dim: 3 } }")
    (blob,) = layer.blobs
    assert layer.top_shapes == [(2, 3)]
    assert not blob.any()
    assert (backward(2 * layer(), blob)[0] == 2).all()


def test_negative_size():
    with pytest.raises(LayerError, match="negative size"):
        make("Parameter", "parameter_param { shape { dim: -1 } }")
