"""BN with icnet and Interp with use_blob_size, against numpy in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fork_layers import fill, gradients_agree, make, run, values

from sdcaffe.errors import LayerError

X = values(3, 2, 4, 5)
SLOPE, BIAS, MEAN, VARIANCE = np.array([2, 0.5]), np.array([0.1, -1]), np.array([0.3, -0.2]), np.array([4, 0.25])
BODY = "bn_param { icnet: true eps: 0.01 momentum: 0.75 scale_filler { value: 5 } }"


def normalised(mean, variance):
    shape = (1, 2, 1, 1)
    slope, bias, mean, variance = (np.reshape(each, shape) for each in (SLOPE, BIAS, mean, variance))
    return slope * (X - mean) / np.sqrt(variance + 0.01) + bias


def test_icnets_bn_in_training():
    layer = make("BN", BODY, [X.shape], phase="TRAIN")
    assert [tuple(blob.shape) for blob in layer.blobs] == [(1, 2, 1, 1)] * 4
    fill(layer, SLOPE, BIAS, MEAN, VARIANCE)
    mean, variance = X.mean((0, 2, 3)), X.var((0, 2, 3))
    top = layer(torch.tensor(X)).detach().numpy()
    assert np.allclose(top, normalised(mean, variance), rtol=1e-9)
    assert np.allclose(layer.blobs[2].flatten(), 0.75 * MEAN + 0.25 * mean)
    assert np.allclose(layer.blobs[3].flatten(), 0.75 * VARIANCE + 0.25 * variance)


def test_icnets_bn_in_testing():
    layer = fill(make("BN", BODY, [X.shape]), SLOPE, BIAS, MEAN, VARIANCE)
    want = normalised(MEAN, VARIANCE)
    assert np.allclose(run(layer, X), want, rtol=1e-9)
    assert gradients_agree(layer, X)


def test_interp_takes_the_size_of_a_blob():
    like = np.zeros((3, 7, 7, 9))
    rows, columns = np.linspace(0, 3, 7), np.linspace(0, 4, 9)
    want = np.empty((3, 2, 7, 9))
    for n, c in np.ndindex(3, 2):
        lines = np.array([np.interp(columns, np.arange(5), line) for line in X[n, c]])
        want[n, c] = np.array([np.interp(rows, np.arange(4), column) for column in lines.T]).T
    layer = make("Interp", "interp_param { use_blob_size: true }", [X.shape, like.shape])
    assert np.allclose(run(layer, X, like), want, rtol=1e-9)
    with pytest.raises(LayerError, match="use_blob_size needs a second bottom") as caught:
        make("Interp", "interp_param { use_blob_size: true zoom_factor: 2 }", [X.shape])
    assert caught.value.field == "use_blob_size"
