"""Intel's force_u8_input: a net of bytes is the net that it was made of, as the fork's own script makes it."""

from __future__ import annotations

import numpy as np
import pytest
from fork_layers import fill, make, run, values
from fork_written import agree_everywhere

from sdcaffe.errors import LayerError

SCALE_IN = 107.5
FIELDS = "convolution_param { num_output: 4 kernel_size: 3 stride: 2 }"
BYTES = f"quantization_param {{ bw_layer_in: 8 scale_in: {SCALE_IN} force_u8_input: true }}"
IMAGE, WEIGHT, BIAS = values(2, 3, 7, 9), values(4, 3, 3, 3, seed=1), values(4, seed=2)


def convolved(x, weight, bias):
    """A convolution of stride 2, by its definition."""
    top = np.zeros((len(x), len(weight), (x.shape[2] - 1) // 2, (x.shape[3] - 1) // 2))
    for h, w in np.ndindex(top.shape[2:]):
        window = x[:, :, 2 * h : 2 * h + 3, 2 * w : 2 * w + 3]
        top[:, :, h, w] = np.einsum("nchw,ochw->no", window, weight) + bias
    return top


def moved():
    """What the fork's first_conv_force_u8.py makes of an image and a bias, without the rounding to bytes."""
    return SCALE_IN * IMAGE + 128, BIAS - 128 / SCALE_IN * WEIGHT.sum((1, 2, 3))


def test_the_net_of_bytes_is_the_net_before(tmp_path, monkeypatch):
    image, bias = moved()
    want = convolved(IMAGE, WEIGHT, BIAS)
    body = f'type: "Convolution" {FIELDS} {BYTES}'
    agree_everywhere(tmp_path, monkeypatch, body, [image], want, [WEIGHT, bias], tolerance=2e-5)


def test_in_training_the_bottom_is_taken_as_it_is():
    """As in the fork, which computes in 8 bits in the test phase alone."""
    layer = fill(make("Convolution", f"{FIELDS} {BYTES}", [IMAGE.shape], phase="TRAIN"), WEIGHT, BIAS)
    assert np.allclose(run(layer, IMAGE), convolved(IMAGE, WEIGHT, BIAS))


@pytest.mark.parametrize("scale", ["", "scale_in: 0", "scale_in: -1", "scale_in: inf"])
def test_a_scale_is_needed(scale):
    with pytest.raises(LayerError, match="force_u8_input needs a scale_in above 0"):
        make("Convolution", f"{FIELDS} quantization_param {{ {scale} force_u8_input: true }}", [IMAGE.shape])
