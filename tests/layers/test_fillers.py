"""Fillers against their definitions; the statistics of random ones on a blob large enough to tell."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from layer_building import make

from sdcaffe import proto
from sdcaffe.errors import LayerError
from sdcaffe.layers import fillers


def filled(shape, **options):
    torch.manual_seed(1)
    tensor = torch.full(shape, math.nan)
    norm = options.pop("variance_norm", None)
    filler = proto.FillerParameter(**options)
    if norm:
        filler.variance_norm = proto.FillerParameter.VarianceNorm.Value(norm)
    fillers.fill(tensor, filler)
    return tensor.double().numpy()


def test_constant_is_the_default_and_zero():
    assert (filled((2, 3)) == 0).all()
    assert (filled((2, 3), type="constant", value=1.5) == 1.5).all()


def test_uniform_covers_its_range():
    values = filled((100, 100), type="uniform", min=-1, max=3)
    assert -1 <= values.min() < -0.99
    assert 2.99 < values.max() <= 3
    assert abs(values.mean() - 1) < 0.05


def test_gaussian_has_its_mean_and_deviation():
    values = filled((100, 200), type="gaussian", mean=2, std=0.5)
    assert abs(values.mean() - 2) < 0.02
    assert abs(values.std() - 0.5) < 0.02


def test_sparse_gaussian_keeps_that_many_inputs_an_output():
    values = filled((50, 1000), type="gaussian", std=1, sparse=10)
    assert abs((values != 0).mean() - 10 / 50) < 0.01


def test_positive_unitball_rows_sum_to_one():
    values = filled((7, 2, 3, 3), type="positive_unitball")
    assert (values > 0).all()
    np.testing.assert_allclose(values.reshape(7, -1).sum(1), 1, rtol=1e-6)


@pytest.mark.parametrize(("norm", "n"), [("FAN_IN", 64 * 9), ("FAN_OUT", 32 * 9), ("AVERAGE", 48 * 9)])
def test_xavier_and_msra_scale_with_the_fan(norm, n):
    shape = (32, 64, 3, 3)
    xavier = filled(shape, type="xavier", variance_norm=norm)
    assert abs(xavier).max() <= math.sqrt(3 / n) * (1 + 1e-6)
    assert abs(xavier.std() / math.sqrt(1 / n) - 1) < 0.02
    assert abs(filled(shape, type="msra", variance_norm=norm).std() / math.sqrt(2 / n) - 1) < 0.02


@pytest.mark.parametrize(
    ("norm", "xavier", "msra"),  # deviations that BVLC Caffe 1.0 gives 4096 numbers on one axis
    [("FAN_IN", 1, 1.414214), ("FAN_OUT", 1 / 64, 0.022097), ("AVERAGE", 0.022094, 0.031246)],
)
def test_one_axis_has_a_fan_in_of_one_and_a_fan_out_of_its_count(norm, xavier, msra):
    values = filled((4096,), type="xavier", variance_norm=norm)
    assert abs(values.std() / xavier - 1) < 0.05
    assert 0.99 < abs(values).max() / (xavier * math.sqrt(3)) <= 1 + 1e-6
    assert abs(filled((4096,), type="msra", variance_norm=norm).std() / msra - 1) < 0.05


FILLED_BIASES = {
    "Bias": ("bias_param { filler { type: 'msra' } }", 0),
    "Scale": ("scale_param { bias_term: true bias_filler { type: 'msra' } }", 1),
    "PReLU": ("prelu_param { filler { type: 'msra' } }", 0),
    "InnerProduct": ("inner_product_param { num_output: 2000 bias_filler { type: 'msra' } }", 1),
    "Convolution": ("convolution_param { num_output: 2000 kernel_size: 1 bias_filler { type: 'msra' } }", 1),
    "Deconvolution": ("convolution_param { num_output: 2000 kernel_size: 1 bias_filler { type: 'msra' } }", 1),
    "Embed": ("embed_param { input_dim: 3 num_output: 2000 bias_filler { type: 'msra' } }", 1),
    "LSTM": ("recurrent_param { num_output: 500 bias_filler { type: 'msra' } }", 1),
    "RNN": ("recurrent_param { num_output: 2000 bias_filler { type: 'msra' } }", 1),
}


@pytest.mark.parametrize("type_name", FILLED_BIASES)
def test_every_layer_takes_a_fan_filler_for_a_blob_of_one_axis(type_name):
    body, index = FILLED_BIASES[type_name]
    shapes = {"LSTM": [(2, 1, 3), (2, 1)], "RNN": [(2, 1, 3), (2, 1)], "Embed": [(2,)]}
    plain = [(2, 2000)] if type_name in ("Bias", "Scale", "PReLU") else [(2, 3, 1, 1)]
    torch.manual_seed(2)
    layer = make(type_name, body.replace("'", '"'), *shapes.get(type_name, plain))
    blob = layer.blobs[index]
    assert blob.shape == (2000,)
    assert abs(blob.std() / 1.414214 - 1) < 0.07


def test_the_unit_ball_on_one_axis_is_all_ones():
    np.testing.assert_allclose(filled((4096,), type="positive_unitball"), 1, rtol=1e-6)


def test_bilinear_is_the_outer_product_of_a_tent():
    # factor 2, kernel 4: the upsampling kernel of the segmentation nets
    line = np.array([0.25, 0.75, 0.75, 0.25])
    np.testing.assert_allclose(filled((3, 1, 4, 4), type="bilinear"), np.tile(np.outer(line, line), (3, 1, 1, 1)))


@pytest.mark.parametrize(
    ("shape", "options", "says"),
    [
        ((2, 3), {"type": "msar"}, "unknown filler"),
        ((), {"type": "msra"}, "at least one axis"),
        ((), {"type": "xavier"}, "at least one axis"),
        ((), {"type": "positive_unitball"}, "at least one axis"),
        ((), {"type": "gaussian", "std": 1, "sparse": 1}, "at least one axis"),
        ((2, 2, 3, 4), {"type": "bilinear"}, "square"),
        ((2, 3), {"type": "xavier", "sparse": 3}, "sparse"),
        ((2, 3), {"type": "gaussian", "sparse": -7}, "sparse is -7"),
        ((2, 3), {"type": "gaussian", "std": -1}, "std of at least 0, not -1"),
        ((2, 3), {"type": "uniform", "min": 1, "max": -1}, "min <= max"),
        ((2, 0), {"type": "msra"}, "nothing to fill"),
    ],
)
def test_a_filler_that_cannot_says_why(shape, options, says):
    with pytest.raises(LayerError, match=says):
        filled(shape, **options)


def test_the_seed_decides():
    assert (filled((4, 4), type="msra") == filled((4, 4), type="msra")).all()
